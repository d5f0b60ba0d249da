"""Image shards: Parquet files of pictures, written once, read by offset.

Columns ``image_id`` (SHA-256 of the bytes, hex) and ``bytes``, both without nulls, uncompressed, in row groups of at most 100
pictures with one data page each. A PLAIN page of binary values is a 4-byte length before each value, so every picture lies
contiguous in the file, and a reader needs one ``pread`` at the offset that the lake notes.
"""

import hashlib
import logging
import os
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from captionlake.errors import CaptionlakeError
from captionlake.lake.storage import Storage

log = logging.getLogger(__name__)

PICTURES_PER_SHARD = 2000
NO_SHARD = "shard-000000.parquet"  # empty, in every lake from the first
_PICTURES_PER_GROUP = 100
_BYTES_PER_GROUP = 256 * 2**20
_STALE_SECONDS = 24 * 3600
_BYTES_PER_READ = 16 * 2**20
SCHEMA = pa.schema([pa.field("image_id", pa.string(), nullable=False), pa.field("bytes", pa.binary(), nullable=False)])


@dataclass(frozen=True, slots=True)
class Locator:
    """Where a picture lies: shard file, row from 0, byte offset and length."""

    shard: str
    row: int
    offset: int
    n_bytes: int


Place = tuple[str, Locator]  # a picture's id, and where it lies


class ShardWriter:
    """Writes one shard; ``finish`` fsyncs it, reads every picture back and returns where each lies. Holds them until then.

    The shard has no name yet: see ``place_shard``.
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


def place_shard(staged: Path, images: Storage) -> str:
    """Put a finished shard in. Returns its name: the next free number, only under the write lock; in a bucket a name of its own."""
    if images.numbered:
        named = [name for name in images.names() if is_shard(name)]
        taken = [int(name.removeprefix("shard-").removesuffix(".parquet")) for name in named]
        name = f"shard-{max(taken, default=0) + 1:06d}.parquet"
    else:
        name = f"shard-{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:12]}.parquet"
    images.put(staged, name)
    return name


def is_shard(name: str) -> bool:
    """Whether a file of ``images`` is a shard, by its name."""
    return name.startswith("shard-") and name.endswith(".parquet")


def old_shards(images: Storage) -> set[str]:
    """Names of the shards that are older than a day: an ingest that wrote a younger one may not have committed its rows yet."""
    before = time.time() - _STALE_SECONDS
    return {
        one.name for one in images.entries() if is_shard(one.name) and one.name != NO_SHARD and one.modified < before
    }


def remove_shards(images: Storage, names: set[str]) -> None:
    """Remove shards that no row names; only under the write lock."""
    for name in sorted(names):
        log.warning("removing %s: no row names it", name)
        images.remove(name)


class ShardReader:
    """Reads pictures by locator and checks each against its SHA-256; for one thread."""

    def __init__(self, images: Storage) -> None:
        self._files = images.reader()

    def read(self, image_id: str, locator: Locator) -> bytes:
        """The picture's bytes. Raises where the shard is missing or the bytes are not those that were stored."""
        data = self._files.read(locator.shard, locator.offset, locator.n_bytes)
        _check(image_id, locator, data)
        return data

    def read_into(self, image_id: str, locator: Locator, target: memoryview) -> None:
        """As ``read``, the bytes laid into ``target``, which is as long as they are."""
        self._files.read_into(locator.shard, locator.offset, target)
        _check(image_id, locator, target)

    def read_several(self, places: Iterable[Place]) -> Iterator[bytes | CaptionlakeError]:
        """Of each picture, in the order given, the bytes or what is wrong. Neighbours come in one read where a read takes long."""
        if not self._files.gap:
            yield from (self._or_error(*place) for place in places)
            return
        for some in _neighbours(places, self._files.gap):
            yield from self._together(some)

    def read_several_into(
        self, places: Sequence[Place], targets: Sequence[memoryview]
    ) -> Iterator[CaptionlakeError | None]:
        """As ``read_several``, the bytes laid into the targets; of each what is wrong, or None."""
        if not self._files.gap:
            for (image_id, locator), target in zip(places, targets, strict=True):
                try:
                    self.read_into(image_id, locator, target)
                except CaptionlakeError as error:
                    yield error
                else:
                    yield None
            return
        for target, data in zip(targets, self.read_several(places), strict=True):
            if isinstance(data, CaptionlakeError):
                yield data
            else:
                target[:] = data
                yield None

    def _or_error(self, image_id: str, locator: Locator) -> bytes | CaptionlakeError:
        try:
            return self.read(image_id, locator)
        except CaptionlakeError as error:
            return error

    def _together(self, places: list[Place]) -> Iterator[bytes | CaptionlakeError]:
        first, last = places[0][1], places[-1][1]
        try:
            whole = self._files.read(first.shard, first.offset, last.offset + last.n_bytes - first.offset)
        except CaptionlakeError as error:
            yield from (error for _ in places)
            return
        for image_id, locator in places:
            start = locator.offset - first.offset
            data = whole[start : start + locator.n_bytes]
            try:
                _check(image_id, locator, data)
            except CaptionlakeError as error:
                yield error
            else:
                yield data

    def close(self) -> None:
        """Close all shards."""
        self._files.close()


def _neighbours(places: Iterable[Place], gap: int) -> Iterator[list[Place]]:
    """Cut where the next picture lies in another shard, before the last one's end, or far behind it."""
    some: list[Place] = []
    for place in places:
        if some:
            first, before, at = some[0][1], some[-1][1], place[1]
            end = before.offset + before.n_bytes
            near = at.shard == before.shard and end <= at.offset <= end + gap
            if not near or at.offset + at.n_bytes - first.offset > _BYTES_PER_READ:
                yield some
                some = []
        some.append(place)
    if some:
        yield some


def _check(image_id: str, locator: Locator, data: bytes | memoryview) -> None:
    if hashlib.sha256(data).hexdigest() != image_id:
        raise CaptionlakeError(
            f"{locator.shard} row {locator.row}: the bytes are not those of picture {image_id}: "
            "restore the shard from a backup, or look the picture up in takedowns"
        )
