"""A release of either kind as a sequence of samples, read by locator from the lake's shards."""

import functools
import json
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.releases.release import Release, find_release
from captionlake.lake.releases.verification import verify_release
from captionlake.lake.shards import Locator, ShardReader
from captionlake.lake.storage import Storage
from captionlake.models.data.release_index import ReleaseIndex, open_rows
from captionlake.models.data.release_rows import NO_CAPTION, NO_PICTURE, Choice, Samples
from captionlake.models.data.sample import Sample, UnreadableSample, caption_turns, record_key, record_turns

_NAMED = 3  # shards that a message names


class ReleaseData:
    """An opened release: ``data[i]`` is a :class:`Sample`, ``i`` from 0 to ``len(data) - 1``.

    Cheap to hand to other processes, which map the same files. It needs no database after it was opened.
    """

    label: str
    content_sha256: str
    kind: str  # "images" | "sft"
    left_out: Counter[str]  # rows of the split that are no samples, by reason

    def __init__(self, images: Storage, release: Release, index: ReleaseIndex, left_out: Counter[str]) -> None:
        self.label, self.content_sha256, self.kind = release.label, release.content_sha256, release.kind
        self.left_out = left_out
        self._shards = images
        self._paths = index.rows, index.samples
        self._index: ReleaseIndex | None = index  # holds the files where the lake's cache cannot

    @classmethod
    def open(
        cls,
        lake: str | Path,
        label: str,
        *,
        split: str | None = "train",
        verify: Literal["full", "pictures"] = "full",
        captions: Literal["first", "all"] = "first",
    ) -> "ReleaseData":
        """Open ``name@version`` of the lake in a folder, after a check that it is what its hashes say.

        ``split``: None for the rows of all. ``verify``: the hashes of all rows and of the whole; ``"pictures"`` reads and hashes all
        pictures too. Each picture is checked when it is read in any case. ``captions``: of a row with several, the first one, or a
        sample for each. Rows without a caption or a picture, and those that were
        taken down, are left out and counted in ``left_out``. Raises where a hash differs,
        where a shard is missing or cut short, and where no sample is left.
        """
        with Lake.open(lake) as opened:
            release = find_release(opened, label)
            found = verify_release(opened, label, pictures=verify == "pictures")
            if found.n_problems:
                raise CaptionlakeError(
                    f"{label} does not verify: {found.n_problems:,} problems, the first: {found.problems[0]}; "
                    f"run  captionlake release verify {label}"
                )
            index = ReleaseIndex(opened, release, Choice(split, captions == "all"))
            data = cls(opened.images, release, index, index.check())
        data._check_usable(release, split)
        data._check_shards()
        return data

    @property
    def missing(self) -> int:
        """Rows that are left out."""
        return self.left_out.total()

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Sample:
        """Raises ``UnreadableSample``, naming the row, where bytes are missing or are not those that were stored."""
        row, ordinal, _, n_pictures = self._samples[index].item()
        columns = self._columns

        def read(name: str) -> Any:
            return columns[name][row].as_py()

        position = read("position")
        if self.kind == "images":
            key, turns = f"{read('source')}/{read('source_key')}", caption_turns(read("texts")[ordinal]["text"])
        else:
            record = json.loads(read("record"))
            key = record_key(record, position)
        try:
            if self.kind == "sft":
                turns = record_turns(record, n_pictures)
            images = tuple(map(self._read, read("pictures"))) if n_pictures else ()
        except CaptionlakeError as error:
            reason = error.reason if isinstance(error, UnreadableSample) else "damaged"
            raise UnreadableSample(f"{self.label} row {position}: {error}", reason, position, key) from error
        return Sample(position, key, images, turns)

    def _read(self, place: dict[str, Any]) -> bytes:
        return self._reader.read(place.pop("image_id"), Locator(**place))

    def modalities(self) -> npt.NDArray[np.bool_]:
        """(N,): whether a sample has a picture."""
        return np.asarray(self._samples["pictures"] > 0)

    def text_chars(self) -> npt.NDArray[np.int64]:
        """(N,): characters of all turns, ``<image>`` among them."""
        return np.asarray(self._samples["chars"], np.int64)

    @functools.cached_property
    def _samples(self) -> Samples:
        found: Samples = np.load(self._paths[1], mmap_mode="r", allow_pickle=False).view(
            np.ndarray
        )  # quicker than a memmap
        return found

    @functools.cached_property
    def _columns(self) -> dict[str, pa.ChunkedArray]:
        table = open_rows(self._paths[0])
        return dict(zip(table.column_names, table.columns, strict=True))

    @functools.cached_property
    def _reader(self) -> ShardReader:
        return ShardReader(self._shards)

    def __getstate__(self) -> dict[str, Any]:
        opened = ("_samples", "_columns", "_reader")
        return {name: value for name, value in self.__dict__.items() if name not in opened} | {"_index": None}

    def _check_usable(self, release: Release, split: str | None) -> None:
        where = f"{self.label} has no" if split is None else f"split {split} of {self.label} has no"
        if self.left_out[NO_PICTURE] and not self._samples["pictures"].any():
            raise CaptionlakeError(
                f"{where} picture in the lake: {self.left_out[NO_PICTURE]:,} rows name some; ingest them, then import the "
                "conversations again and make the release anew"
            )
        if len(self):
            return
        if self.left_out[NO_CAPTION]:
            raise CaptionlakeError(
                f"{where} captions: caption its pictures with  captionlake caption RECIPE  and release them as a new version"
            )
        raise CaptionlakeError(f"{where} row to train on: see  captionlake release show {self.label}")

    def _check_shards(self) -> None:
        """All shards are there, and as long as the pictures in them need."""
        ends: dict[str, int] = {}
        counts: Counter[str] = Counter()
        for chunk in self._columns["pictures"].chunks:
            pictures = chunk.flatten().drop_null()
            table = pa.table({name: pictures.field(name) for name in ("shard", "offset", "n_bytes")})
            table = table.append_column("end", pa.array(table["offset"].to_numpy() + table["n_bytes"].to_numpy()))
            for found in table.group_by("shard").aggregate([("end", "max"), ("end", "count")]).to_pylist():
                ends[found["shard"]] = max(ends.get(found["shard"], 0), found["end_max"])
                counts[found["shard"]] += found["end_count"]
        sizes = self._shards.sizes(ends)
        wrong = [name for name in sorted(ends) if sizes.get(name, -1) < ends[name]]
        if wrong:
            named = ", ".join(wrong[:_NAMED]) + (", …" if len(wrong) > _NAMED else "")
            raise CaptionlakeError(
                f"{len(wrong)} shards of {self.label} are missing or cut short in {self._shards.url} ({named}), with "
                f"{sum(counts[name] for name in wrong):,} of its pictures: restore them from a backup"
            )
