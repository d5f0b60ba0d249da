"""Image shards: Parquet files of pictures, written once, read by offset.

Columns ``image_id`` (SHA-256 of the bytes, hex) and ``bytes``, both without nulls, uncompressed, in row groups of at most 100
pictures with one data page each. A PLAIN page of binary values is a 4-byte length before each value, so every picture lies
contiguous in the file, and a reader needs one ``pread`` at the offset that the lake notes.
"""

import hashlib
import logging
import os
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from captionlake.errors import CaptionlakeError
from captionlake.lake.durable import sync_folder

log = logging.getLogger(__name__)

PICTURES_PER_SHARD = 2000
NO_SHARD = "shard-000000.parquet"  # empty, in every lake from the first
_PICTURES_PER_GROUP = 100
_BYTES_PER_GROUP = 256 * 2**20
_STALE_SECONDS = 24 * 3600
_OPEN_FILES = 64
SCHEMA = pa.schema([pa.field("image_id", pa.string(), nullable=False), pa.field("bytes", pa.binary(), nullable=False)])


@dataclass(frozen=True, slots=True)
class Locator:
    """Where a picture lies: shard file, row from 0, byte offset and length."""

    shard: str
    row: int
    offset: int
    n_bytes: int


class ShardWriter:
    """Writes one shard; ``finish`` fsyncs it, reads every picture back and returns where each lies. Holds them until then.

    The shard has no number yet: that is given under the write lock, see ``place_shard``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer = pq.ParquetWriter(
            path,
            SCHEMA,
            compression="none",
            use_dictionary=False,
            write_statistics=["image_id"],
            data_page_size=2**31 - 1,
            data_page_version="1.0",
        )
        self._pictures: list[bytes] = []
        self._group: list[tuple[str, bytes]] = []
        self._group_bytes = 0
        self._group_lengths: list[int] = []

    def __len__(self) -> int:
        return len(self._pictures)

    def add(self, image_id: str, data: bytes) -> None:
        """Append a picture; its row is the count of those before it."""
        if self._group and (
            len(self._group) >= _PICTURES_PER_GROUP or self._group_bytes + len(data) > _BYTES_PER_GROUP
        ):
            self._flush()
        self._group.append((image_id, data))
        self._group_bytes += len(data)
        self._pictures.append(data)

    def _flush(self) -> None:
        ids, values = zip(*self._group, strict=True)
        self._writer.write_batch(
            pa.record_batch([pa.array(ids, pa.string()), pa.array(values, pa.binary())], schema=SCHEMA)
        )
        self._group_lengths.append(len(self._group))
        self._group, self._group_bytes = [], 0

    def finish(self) -> list[Locator]:
        """Close, fsync and verify. The locators, in row order, carry the staging file's name."""
        if self._group:
            self._flush()
        self._writer.close()
        with self.path.open("rb+") as file:
            os.fsync(file.fileno())
        locators = self._locate()
        self._read_back(locators)
        return locators

    def _read_back(self, locators: list[Locator]) -> None:
        """Compared with what was added, which takes less than its hashes would."""
        with self.path.open("rb", buffering=0) as file:
            for data, at in zip(self._pictures, locators, strict=True):
                if os.pread(file.fileno(), at.n_bytes, at.offset) != data:
                    raise CaptionlakeError(
                        f"{self.path.name} did not read back as written: check the disk and run this again"
                    )

    def abort(self) -> None:
        """Close and remove the file."""
        self._writer.close()
        self.path.unlink(missing_ok=True)

    def _locate(self) -> list[Locator]:
        metadata = pq.ParquetFile(self.path).metadata
        locators: list[Locator] = []
        row = 0
        for group, length in enumerate(self._group_lengths):
            column = metadata.row_group(group).column(1)
            sizes = [len(data) for data in self._pictures[row : row + length]]
            header = column.total_compressed_size - sum(4 + size for size in sizes)
            at = column.data_page_offset + header
            for size in sizes:
                locators.append(Locator(shard=self.path.name, row=row, offset=at + 4, n_bytes=size))
                at += 4 + size
                row += 1
        return locators


def place_shard(staged: Path, images: Path) -> str:
    """Move a finished shard into ``images`` under the next free number; only under the write lock. Returns its name."""
    taken = [int(path.stem.removeprefix("shard-")) for path in images.glob("shard-*.parquet")]
    name = f"shard-{max(taken, default=0) + 1:06d}.parquet"
    staged.rename(images / name)
    sync_folder(images)
    return name


def old_shards(images: Path) -> set[str]:
    """Names of the shards that are older than a day: an ingest that wrote a younger one may not have committed its rows yet."""
    paths = [path for path in images.glob("shard-*.parquet") if path.name != NO_SHARD]
    return {path.name for path in paths if time.time() - path.stat().st_mtime > _STALE_SECONDS}


def remove_shards(images: Path, names: set[str]) -> None:
    """Remove shards that no row names; only under the write lock."""
    for name in sorted(names):
        log.warning("removing %s: no row names it", name)
        (images / name).unlink(missing_ok=True)


class ShardReader:
    """Reads pictures by locator and checks each against its SHA-256; keeps up to 64 shards open."""

    def __init__(self, images: Path) -> None:
        self._images = images
        self._open: OrderedDict[str, int] = OrderedDict()

    def read(self, image_id: str, locator: Locator) -> bytes:
        """The picture's bytes. Raises where the shard is missing or the bytes are not those that were stored."""
        data = os.pread(self._descriptor(locator.shard), locator.n_bytes, locator.offset)
        _check(image_id, locator, data)
        return data

    def read_into(self, image_id: str, locator: Locator, target: memoryview) -> None:
        """As ``read``, the bytes laid into ``target``, which is as long as they are."""
        os.preadv(self._descriptor(locator.shard), [target], locator.offset)
        _check(image_id, locator, target)

    def _descriptor(self, shard: str) -> int:
        if shard in self._open:
            self._open.move_to_end(shard)
            return self._open[shard]
        try:
            descriptor = os.open(self._images / shard, os.O_RDONLY)
        except OSError as error:
            raise CaptionlakeError(
                f"{self._images / shard} cannot be read ({error.strerror}): restore it from a backup"
            ) from error
        self._open[shard] = descriptor
        if len(self._open) > _OPEN_FILES:
            os.close(self._open.popitem(last=False)[1])
        return descriptor

    def close(self) -> None:
        """Close all shards."""
        while self._open:
            os.close(self._open.popitem()[1])


def _check(image_id: str, locator: Locator, data: bytes | memoryview) -> None:
    if hashlib.sha256(data).hexdigest() != image_id:
        raise CaptionlakeError(
            f"{locator.shard} row {locator.row}: the bytes are not those of picture {image_id}: "
            "restore the shard from a backup, or look the picture up in takedowns"
        )
