"""One model's vectors in files that are mapped into memory: derived from ``embeddings``, made and mended when asked for.

``CACHE/vectors-HASH/`` of a model holds ``state.json`` and the two files that it names: ``….ids``, 64 characters a
picture, and ``….f32``, D float32 a picture. Rows past the number in ``state.json`` are no rows: what is appended counts
once the new ``state.json`` is in its place, and so a killed process leaves the cache as it was. Rows are in no order.
"""

import hashlib
import json
import logging
import os
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from filelock import FileLock

from captionlake.curation.cosine import UNIT_TOLERANCE, Vectors
from captionlake.curation.similarity import embedded_set
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.cache import cache_folder
from captionlake.lake.durable import replace_text
from captionlake.lake.progress import progress

log = logging.getLogger(__name__)

_FORMAT = 1
_ID_BYTES = 64  # a SHA-256 in hex
_ROWS = 8192  # read at one time


@dataclass(frozen=True, kw_only=True, slots=True)
class _State:
    """What the files hold: ``n`` vectors of ``d`` numbers, those of ``snapshot``, with the fingerprint of their ids.

    ``deviation``: how far a vector's length is from 1, at most.
    """

    model_id: str
    file: str
    n: int
    d: int
    snapshot: int
    fingerprint: str
    deviation: float = 0.0
    format: int = _FORMAT


class CachedVectors:
    """Vectors (N, D) of a model, and whose they are. Both are mapped from files, whose pages the system can give up."""

    def __init__(self, folder: Path, state: _State) -> None:
        self.model_id, self.deviation = state.model_id, state.deviation
        n, d = state.n, state.d
        shape, path = (n, d), folder / state.file
        self.vectors: Vectors = (
            np.memmap(path.with_suffix(".f32"), np.float32, mode="r", shape=shape) if n else np.empty(shape, np.float32)
        )
        self._ids: npt.NDArray[np.uint8] = (
            np.memmap(path.with_suffix(".ids"), np.uint8, mode="r", shape=(n * _ID_BYTES,))
            if n
            else np.empty(0, np.uint8)
        )

    def __len__(self) -> int:
        return len(self.vectors)

    def id_at(self, row: int) -> str:
        """The image_id of a row."""
        return bytes(self._ids[row * _ID_BYTES : (row + 1) * _ID_BYTES]).decode("ascii")

    def ids(self) -> pa.Array:
        """The image_ids of all rows, as an Arrow column over the mapped file."""
        offsets = np.arange(len(self) + 1, dtype=np.int64) * _ID_BYTES
        return pa.LargeStringArray.from_buffers(len(self), pa.py_buffer(offsets), pa.py_buffer(self._ids))

    def table(self) -> pa.Table:
        """image_id and ``place``, the row, for use in SQL."""
        return pa.table({"image_id": self.ids(), "place": pa.array(np.arange(len(self), dtype=np.int64))})


def vectors_folder(lake: Path, model_id: str) -> Path:
    """Where a model's vectors are kept."""
    return cache_folder(lake) / f"vectors-{hashlib.sha256(model_id.encode()).hexdigest()[:16]}"


def cached_vectors(lake: Lake, model_id: str) -> CachedVectors:
    """The vectors of all pictures that the model has embedded at the newest snapshot.

    Nothing is read but the state when nothing was written to the lake since. New rows are appended; when rows are gone,
    or the files are not whole, all is made anew. Raises where no picture is embedded by the model.
    """
    folder = vectors_folder(lake.path, model_id)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        snapshot = lake.snapshot()
        state = _read_state(folder, model_id)
        if state is None or state.snapshot != snapshot:
            state = _brought_up(lake, folder, model_id, snapshot, state)
        return CachedVectors(folder, state)


def _read_state(folder: Path, model_id: str) -> _State | None:
    """The state of files that are whole; None where there are none."""
    try:
        state = _State(**json.loads((folder / "state.json").read_text()))
        path = folder / Path(state.file).name
        whole = (
            state.format == _FORMAT
            and state.model_id == model_id
            and path.with_suffix(".f32").stat().st_size >= state.n * state.d * 4
            and path.with_suffix(".ids").stat().st_size >= state.n * _ID_BYTES
        )
    except (OSError, ValueError, TypeError) as error:
        log.debug("no cached vectors in %s: %s", folder, error)
        return None
    return state if whole else None


def _brought_up(lake: Lake, folder: Path, model_id: str, snapshot: int, state: _State | None) -> _State:
    """The state of the cache at a snapshot, its files appended to or written anew where they must be."""
    n, fingerprint = embedded_set(lake, model_id, snapshot)
    if not n:
        raise CaptionlakeError(f"no picture is embedded by {model_id}: run  captionlake embed  first")
    if state is not None and (n, fingerprint) != (state.n, state.fingerprint):
        state = _appended(lake, folder, state, n, snapshot)
    if state is None:
        state = _written(lake, folder, model_id, n, snapshot)
    made = _State(**asdict(state) | {"snapshot": snapshot, "fingerprint": fingerprint})
    _place_state(folder, made)
    return made


def _appended(lake: Lake, folder: Path, state: _State, n: int, snapshot: int) -> _State | None:
    """The new rows behind the old ones, or None where old ones are gone from the lake."""
    known = CachedVectors(folder, state).table()
    where = "model_id = ? AND NOT EXISTS (SELECT 1 FROM _cached WHERE _cached.image_id = made.image_id)"
    with lake.registered(_cached=known):
        new = int(lake.value(f"SELECT count(*) FROM {_at(snapshot, 'made')} WHERE {where}", [state.model_id]))
        if state.n + new != n:
            return None
        return _copied(lake, folder / state.file, f"FROM {_at(snapshot, 'made')} WHERE {where}", state, n)


def _written(lake: Lake, folder: Path, model_id: str, n: int, snapshot: int) -> _State:
    d = int(lake.value(f"SELECT len(vector) FROM {_at(snapshot)} WHERE model_id = ? LIMIT 1", [model_id]))
    name = f"{uuid.uuid4().hex[:12]}.f32"
    state = _State(model_id=model_id, file=name, n=0, d=d, snapshot=snapshot, fingerprint="")
    return _copied(lake, folder / name, f"FROM {_at(snapshot)} WHERE model_id = ?", state, n)


def _at(snapshot: int, alias: str = "embeddings") -> str:
    return f"lake.embeddings AS {alias} AT (VERSION => {snapshot:d})"


def _copied(lake: Lake, path: Path, query: str, state: _State, n: int) -> _State:
    """Write rows behind the first ``state.n``, over what an interrupted process left there, until there are ``n``."""
    d, written, deviation = state.d, state.n, state.deviation
    with (
        path.with_suffix(".f32").open("ab") as vectors,
        path.with_suffix(".ids").open("ab") as ids,
        progress("cache vectors", n - state.n) as advance,
    ):
        vectors.truncate(state.n * d * 4)
        ids.truncate(state.n * _ID_BYTES)
        reader = lake.connection.execute(f"SELECT image_id, vector {query}", [state.model_id]).to_arrow_reader(_ROWS)
        for batch in reader:
            flat = batch.column("vector").flatten().to_numpy(zero_copy_only=False)
            names = "".join(batch.column("image_id").to_pylist()).encode("ascii")
            if flat.size != len(batch) * d:
                raise CaptionlakeError(f"vectors of {state.model_id} differ in length: remove its rows and embed again")
            if len(names) != len(batch) * _ID_BYTES:
                raise CaptionlakeError(f"an image_id of {state.model_id} is no SHA-256 in hex: remove its row")
            wide = flat.reshape(-1, d).astype(np.float64)
            worst = float(np.abs(np.sqrt((wide * wide).sum(axis=1)) - 1).max(initial=0.0))
            if not worst <= UNIT_TOLERANCE:  # nor is NaN
                raise CaptionlakeError(
                    f"a vector of {state.model_id} is not of unit length: run  captionlake embed  again"
                )
            deviation = max(deviation, worst)
            vectors.write(np.ascontiguousarray(flat, np.float32).data)
            ids.write(names)
            written += len(batch)
            advance(len(batch))
        for file in (vectors, ids):
            file.flush()
            os.fsync(file.fileno())
    assert written == n, f"{written} rows of {n} at one snapshot"
    return _State(**asdict(state) | {"n": n, "deviation": deviation})


def _place_state(folder: Path, state: _State) -> None:
    """Let ``state`` count, and remove the files of states before it; who has them mapped keeps them."""
    replace_text(folder / "state.json", json.dumps(asdict(state)))
    for path in folder.iterdir():
        if path.suffix in (".f32", ".ids") and path.stem != Path(state.file).stem:
            path.unlink(missing_ok=True)
