"""The rows of a folder of ``release export --to parquet``, as ``release_rows`` has them, and the samples of a row group."""

import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from captionlake.errors import CaptionlakeError
from captionlake.lake.releases.content import ContentHash
from captionlake.models.data.release_rows import Choice, choose, digests
from captionlake.models.data.sample import Sample, UnreadableSample, caption_turns, record_key, record_turns

_NAME = re.compile(r"(?P<split>.+)-(?P<number>\d{5})-of-(?P<total>\d{5})\.parquet")
_READ = {
    "images": ["position", "source", "source_key", "caption", "image"],
    "sft": ["position", "record", "pictures"],
}
_CHECKED = {
    "images": ["position", "row_sha256", "source", "source_key", "image_id", "captions", "image.path"],
    "sft": ["position", "row_sha256", "image_id", "record", "pictures.list.element.path", "picture_ids.list.element"],
}


@dataclass(frozen=True, slots=True)
class RowGroup:
    """``rows`` (n,) of a row group of a file are samples."""

    path: Path
    number: int
    rows: npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Exported:
    """An exported release: its row groups in order, and how many rows of the split are no samples, by reason."""

    label: str
    content_sha256: str
    kind: str
    groups: list[RowGroup]
    left_out: Counter[str]


def open_exported(folder: Path, split: str) -> Exported:
    """Check the hashes of all rows of the folder and find the samples of a split. Pictures are not read."""
    files = _files(folder)
    told = _told(files[0], folder)
    kind = told["kind"]
    hashes: list[tuple[int, str]] = [(position, digest) for position, digest, *_ in told.get("redacted", [])]
    groups: list[RowGroup] = []
    left_out: Counter[str] = Counter()
    for path in files:
        name = _NAME.fullmatch(path.name)
        assert name is not None
        with _opened(path) as file:
            for number in range(file.num_row_groups):
                table = _as_rows(file.read_row_group(number, columns=_CHECKED[kind]), kind, name["split"], folder)
                stored, positions = table["row_sha256"].to_pylist(), table["position"].to_pylist()
                for position, digest, wanted in zip(positions, digests(table, kind), stored, strict=True):
                    if digest != wanted:
                        raise _differs(folder, told, f"row {position} is not what its hash says")
                    hashes.append((position, digest))
                if name["split"] == split:
                    samples, reasons = choose(table, kind, Choice(split), 0)
                    groups.append(RowGroup(path, number, samples["row"].astype(np.int32)))
                    left_out += reasons
    content = ContentHash()
    for _, digest in sorted(hashes):
        content.add_digest(digest)
    if content.hexdigest() != told["content_sha256"]:
        raise _differs(folder, told, f"the content hash of its {content.rows:,} rows is not {told['content_sha256']}")
    if not sum(len(group.rows) for group in groups):
        raise CaptionlakeError(f"{folder} has no row to train on in split {split}: {dict(left_out) or 'no file of it'}")
    return Exported(told["release"], told["content_sha256"], kind, groups, left_out)


def read_group(group: RowGroup, kind: str) -> pa.Table:
    """The rows of a row group, pictures among them."""
    with _opened(group.path) as file:
        try:
            return file.read_row_group(group.number, columns=_READ[kind])
        except (OSError, pa.ArrowException) as error:
            raise _damaged(group.path, error) from error


def sample_of(table: pa.Table, row: int, exported: Exported) -> Sample:
    """The sample at a row of ``read_group``. Raises ``UnreadableSample`` where a picture is not the one that was exported."""
    values = {name: table.column(name)[row].as_py() for name in table.column_names}
    position = values["position"]
    if exported.kind == "images":
        key, pictures = f"{values['source']}/{values['source_key']}", [values["image"]]
    else:
        record = json.loads(values["record"])
        key, pictures = record_key(record, position), values["pictures"]
    for picture in pictures:
        if hashlib.sha256(picture["bytes"]).hexdigest() != Path(picture["path"]).stem:
            message = f"{exported.label} row {position}: the bytes are not those of {picture['path']}"
            raise UnreadableSample(message, "damaged", position, key)
    images = tuple(picture["bytes"] for picture in pictures)
    if exported.kind == "images":
        return Sample(position, key, images, caption_turns(values["caption"]))
    return Sample(position, key, images, record_turns(record, len(images)))


def _files(folder: Path) -> list[Path]:
    """All files of the folder in order. Raises where one is lacking."""
    found: dict[str, dict[int, Path]] = {}
    totals: dict[str, int] = {}
    for path in (folder / "data").glob("*.parquet"):
        if name := _NAME.fullmatch(path.name):
            found.setdefault(name["split"], {})[int(name["number"])] = path
            totals[name["split"]] = int(name["total"])
    if not found:
        raise CaptionlakeError(
            f"no exported release in {folder}: make one with  captionlake release export NAME@VERSION {folder}"
        )
    for split, total in totals.items():
        lacking = sorted(set(range(total)) - found[split].keys())
        if lacking:
            raise CaptionlakeError(
                f"{len(lacking)} of {total} files of {split} are missing in {folder / 'data'}, the first is number {lacking[0]}: "
                "copy them again, or export again"
            )
    return [found[split][number] for split in sorted(found) for number in sorted(found[split])]


def _told(path: Path, folder: Path) -> dict[str, Any]:
    with _opened(path) as file:
        told = (file.schema_arrow.metadata or {}).get(b"captionlake")
    if told is None:
        raise CaptionlakeError(f"{folder} does not say of which release it is: export it again with this captionlake")
    found: dict[str, Any] = json.loads(told)
    return found


def _opened(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> CaptionlakeError:
    return CaptionlakeError(f"{path} cannot be read ({str(error).splitlines()[0]}): copy it again, or export again")


def _as_rows(table: pa.Table, kind: str, split: str, folder: Path) -> pa.Table:
    """With the columns that hashes and choice are made of."""
    table = table.append_column("split", pa.array([split] * len(table)))
    if kind == "images":
        paths = pc.struct_field(table["image"].combine_chunks(), "path")
        withheld = paths.null_count
        lists = pa.ListArray.from_arrays(pa.array(range(len(table) + 1), pa.int32()), paths)
        table = table.drop_columns(["image"]).append_column("pictures", lists)
        table = table.rename_columns({"captions": "texts"})
    else:
        lacking = table["pictures"].combine_chunks().flatten().is_null()
        in_lake = table["picture_ids"].combine_chunks().flatten().is_valid()
        withheld = pc.sum(pc.and_(lacking, in_lake)).as_py()
        chars = [
            sum(len(turn["value"]) for turn in json.loads(text)["conversations"])
            for text in table["record"].to_pylist()
        ]
        table = table.append_column("chars", pa.array(chars, pa.int64()))
    if withheld:
        raise CaptionlakeError(
            f"{folder} lacks pictures whose sources allow no copies: for training of your own, export again with --own-use"
        )
    return table


def _differs(folder: Path, told: dict[str, Any], what: str) -> CaptionlakeError:
    return CaptionlakeError(
        f"{folder} is not {told['release']} as it was exported: {what}; copy it again, or export again"
    )
