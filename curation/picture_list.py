"""What is shown of each picture, to be looked up by its id: a file in the lake's cache, mapped into memory, sorted by id.

To find some of a million pictures in the lake's Parquet takes a tenth of a second or more, as all their ids must be unpacked.
"""

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from filelock import FileLock

from captionlake.lake import Lake
from captionlake.lake.cache import cache_folder
from captionlake.lake.durable import replace_text

log = logging.getLogger(__name__)

_FORMAT = 1
_ID = 64  # hex digits
_COLUMNS = "source, source_key, collection, width, height"


@dataclass(frozen=True, slots=True)
class PictureList:
    """``ids`` (N,) sorted, beside them the columns."""

    ids: npt.NDArray[np.bytes_]
    table: pa.Table

    def find(self, image_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """source, source_key, collection, width and height of the first row of each picture that is there."""
        wanted = np.array(sorted({one for one in image_ids if len(one) == _ID}), dtype=f"S{_ID}")
        if not len(self.ids) or not len(wanted):
            return {}
        at = np.searchsorted(self.ids, wanted)
        at = at[(at < len(self.ids)) & (self.ids[np.minimum(at, len(self.ids) - 1)] == wanted)]
        rows = self.table.take(pa.array(at))
        return {self.ids[place].decode(): row for place, row in zip(at, rows.to_pylist(), strict=True)}


def picture_list(lake: Lake, snapshot: int | None = None) -> PictureList:
    """The list of a snapshot (default: the newest), made anew where rows of ``images`` have come or gone."""
    folder = cache_folder(lake.path)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "pictures.arrow"
    with FileLock(path.with_suffix(".lock")):
        snapshot = lake.snapshot() if snapshot is None else snapshot
        state = _read_state(path)
        if state is None or state["snapshot"] != snapshot:
            fingerprint = _fingerprint(lake, snapshot)
            if state is None or state["fingerprint"] != fingerprint:
                _write(lake, path, snapshot)
            now = {"format": _FORMAT, "snapshot": snapshot, "fingerprint": fingerprint, "size": path.stat().st_size}
            replace_text(path.with_suffix(".json"), json.dumps(now))
        with pa.memory_map(str(path)) as file:
            table = pa.ipc.open_file(file).read_all()
    # The file has one chunk, which must be taken as it lies: to combine even one copies it.
    flat = table.column("image_id").chunk(0) if len(table) else None
    ids = np.empty(0, f"S{_ID}") if flat is None else np.frombuffer(flat.buffers()[1], f"S{_ID}", len(table))
    return PictureList(ids, table.drop_columns(["image_id"]))


def _read_state(path: Path) -> dict[str, Any] | None:
    try:
        state = json.loads(path.with_suffix(".json").read_bytes())
        whole = state["format"] == _FORMAT and path.stat().st_size == state["size"]
        return {"snapshot": state["snapshot"], "fingerprint": state["fingerprint"]} if whole else None
    except (OSError, ValueError, TypeError, KeyError) as error:
        log.debug("no list of pictures in %s: %s", path, error)
        return None


def _fingerprint(lake: Lake, snapshot: int) -> str:
    row = f"concat_ws(chr(31), image_id, {_COLUMNS})"
    query = f"SELECT count(*), bit_xor(md5_number({row})) FROM lake.images AT (VERSION => {snapshot:d})"
    ((count, mixed),) = lake.rows(query)
    return f"{count}-{int(mixed or 0):032x}"


def _write(lake: Lake, path: Path, snapshot: int) -> None:
    query = (
        f"SELECT image_id, {_COLUMNS} FROM lake.images AT (VERSION => {snapshot:d}) WHERE length(image_id) = {_ID} "
        "QUALIFY row_number() OVER (PARTITION BY image_id ORDER BY source, source_key) = 1 ORDER BY image_id"
    )
    found = lake.arrow(query)
    ids = found.column("image_id").cast(pa.binary()).cast(pa.binary(_ID))
    table = found.set_column(0, "image_id", ids).combine_chunks()
    draft = path.with_suffix(".draft")
    with pa.OSFile(str(draft), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    draft.replace(path)
