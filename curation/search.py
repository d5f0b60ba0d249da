"""Search: captions by their words, pictures by a text or a picture through CLIP. What it needs is kept in the lake's cache."""

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from captionlake.curation.candidates import PREDICATE_TABLES
from captionlake.curation.caption_index import FoundCaption, caption_index
from captionlake.curation.known_model import known_model
from captionlake.curation.nearest import nearest
from captionlake.curation.picture_list import picture_list
from captionlake.curation.vector_cache import CachedVectors, cached_vectors
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.gate import check_predicate
from captionlake.lake.options import printable
from captionlake.lake.releases.names import parse_release, release_row

if TYPE_CHECKING:
    from captionlake.curation.encoder import Encoder
    from captionlake.curation.text_model import TextModel

__all__ = ["Hit", "Scope", "search_clip", "search_like", "search_text", "search_vector"]

_AT_ONCE = 8  # times the limit: captions asked of the index first, where some may be out of scope
_IMAGE_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """Where to look: everywhere, in a release (NAME@VERSION), or where a condition over ``images`` is true, or both."""

    release: str | None = None
    where: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    """A picture that was found, by its first row. ``score``: BM25 of the caption, or the cosine.

    ``text`` is the caption that was found; None of a picture found by CLIP.
    """

    rank: int
    score: float
    image_id: str
    source: str
    source_key: str
    collection: str
    width: int
    height: int
    caption_id: str | None = None
    text: str | None = None


def search_text(lake: Lake, text: str, *, limit: int = 20, scope: Scope | None = None) -> list[Hit]:
    """Captions with all the words of ``text`` (``"a phrase"`` and ``begin*`` too), the best by BM25 first."""
    allowed = _allowed(lake, scope)
    found: list[FoundCaption] = []
    with caption_index(lake) as index:
        offset, size = 0, limit * (_AT_ONCE if allowed is not None else 1)
        while len(found) < limit:
            part = index.best(text, size, offset)
            found += part if allowed is None else _in_scope(lake, part, scope, allowed)
            if len(part) < size:
                break
            offset, size = offset + size, size * _AT_ONCE
    best = sorted(found, key=lambda caption: (-caption.score, caption.caption_id))[:limit]
    shown = _shown(lake, [caption.image_id for caption in best], index.snapshot)
    kept = [caption for caption in best if caption.image_id in shown]  # the others were taken down just now
    return [
        replace(shown[one.image_id], rank=rank, score=one.score, caption_id=one.caption_id, text=one.text)
        for rank, one in enumerate(kept, 1)
    ]


def search_clip(lake: Lake, text: str, model: "TextModel", *, limit: int = 20, scope: Scope | None = None) -> list[Hit]:
    """Pictures whose vector is nearest to that of the text. The lake's vectors must be of this model."""
    vector = model.text_vectors([text])[0]
    return search_vector(lake, vector, model_id=known_model(lake, model.model_id), limit=limit, scope=scope)


def search_like(
    lake: Lake,
    like: str | Path,
    *,
    model: "Encoder | None" = None,
    model_id: str | None = None,
    limit: int = 20,
    scope: Scope | None = None,
) -> list[Hit]:
    """Pictures nearest to a picture: a file, an image_id, or ``SOURCE:KEY`` of the lake; itself among them.

    ``model_id`` says whose vectors (default: the lake's only ones). ``model`` is needed for a file that the lake has no vector of.
    """
    chosen = known_model(lake, model.model_id if model is not None else model_id)
    vectors = cached_vectors(lake, chosen)
    query = _vector_of(lake, vectors, str(like), model)
    return _found(lake, vectors, query, limit, scope)


def search_vector(
    lake: Lake, vector: npt.NDArray[np.float32], *, model_id: str, limit: int = 20, scope: Scope | None = None
) -> list[Hit]:
    """Pictures whose vectors (D) by the model are nearest to ``vector``, exactly, the nearest first."""
    return _found(lake, cached_vectors(lake, model_id), vector, limit, scope)


def _found(
    lake: Lake, vectors: CachedVectors, query: npt.NDArray[np.float32], limit: int, scope: Scope | None
) -> list[Hit]:
    if query.shape != vectors.vectors.shape[1:]:
        raise CaptionlakeError(
            f"a vector of {len(query)} numbers cannot be compared with those of {vectors.model_id}, "
            f"which have {vectors.vectors.shape[1]}: search with the model that embedded the pictures"
        )
    ids = _allowed(lake, scope)
    allowed = None
    if ids is not None:
        with lake.registered(_allowed=ids, _cached=vectors.table()):
            rows = lake.arrow("SELECT place FROM _cached SEMI JOIN _allowed USING (image_id)")
        allowed = np.zeros(len(vectors), dtype=bool)
        allowed[rows.column("place").to_numpy()] = True
    rows, cosines = nearest(vectors.vectors, query, limit, deviation=vectors.deviation, allowed=allowed)
    best = sorted(zip((vectors.id_at(row) for row in rows.tolist()), cosines.tolist(), strict=True), key=_by_score)
    shown = _shown(lake, [image_id for image_id, _ in best])
    kept = [(image_id, score) for image_id, score in best if image_id in shown]  # the others were taken down just now
    return [replace(shown[key], rank=rank, score=score) for rank, (key, score) in enumerate(kept, 1)]


def _by_score(found: tuple[str, float]) -> tuple[float, str]:
    return -found[1], found[0]


def _allowed(lake: Lake, scope: Scope | None) -> pa.Table | None:
    """The image_ids of a scope; None: all."""
    if scope is None or (scope.release is None and scope.where is None):
        return None
    conditions, parameters = ["true"], list[object]()
    if scope.where is not None:
        check_predicate(lake.connection, scope.where, PREDICATE_TABLES)
        conditions.append(f"(\n{scope.where}\n)")
    if scope.release is not None:
        name, version = parse_release(scope.release)
        release_row(lake.connection, name, version, "name")
        conditions.append(
            "(source, source_key, image_id) IN (SELECT (source, source_key, image_id) FROM lake.release_items "
            "WHERE name = ? AND version = ?)"
        )
        parameters += [name, version]
    return lake.arrow(f"SELECT DISTINCT image_id FROM images WHERE {' AND '.join(conditions)}", parameters)


def _in_scope(lake: Lake, found: list[FoundCaption], scope: Scope | None, allowed: pa.Table) -> list[FoundCaption]:
    """The captions of allowed pictures; of a release, those that it has."""
    query = "SELECT caption_id FROM _found SEMI JOIN _allowed USING (image_id)"
    parameters: list[str] = []
    if scope is not None and scope.release is not None:
        query += " WHERE caption_id IN (SELECT caption_id FROM lake.release_captions WHERE name = ? AND version = ?)"
        parameters = list(parse_release(scope.release))
    names = ("caption_id", "image_id")
    columns = {name: pa.array([getattr(one, name) for one in found], pa.string()) for name in names}
    with lake.registered(_found=pa.table(columns), _allowed=allowed):
        good = {key for (key,) in lake.rows(query, parameters)}
    return [one for one in found if one.caption_id in good]


def _shown(lake: Lake, ids: list[str], snapshot: int | None = None) -> dict[str, Hit]:
    """What a hit says of each picture, without rank and score."""
    found = picture_list(lake, snapshot).find(ids)
    return {image_id: Hit(rank=0, score=0.0, image_id=image_id, **row) for image_id, row in found.items()}


def _vector_of(lake: Lake, vectors: CachedVectors, like: str, model: "Encoder | None") -> npt.NDArray[np.float32]:
    """The vector of what ``--like`` names: the lake's own where there is one."""
    data = _file(like)
    image_id = hashlib.sha256(data).hexdigest() if data is not None else _known_picture(lake, like)
    query = "SELECT vector FROM embeddings WHERE image_id = ? AND model_id = ?"
    stored = lake.value(query, [image_id, vectors.model_id])
    if stored is not None:
        return np.array(stored, dtype=np.float32)
    if data is None:
        raise CaptionlakeError(
            f"the picture {printable(like)} has no vector by {vectors.model_id}: run  captionlake embed"
        )
    if model is None:
        raise CaptionlakeError(
            f"{printable(like)} is not in the lake, so its vector must be made: give the --model and --pretrained of "
            f"{vectors.model_id}"
        )
    return _embedded(like, data, model)


def _embedded(like: str, data: bytes, model: "Encoder") -> npt.NDArray[np.float32]:
    from captionlake.lake.pictures import PictureError

    try:
        vector: npt.NDArray[np.float32] = model.vectors([model.prepare(data)])[0]
        return vector
    except PictureError as error:
        raise CaptionlakeError(
            f"{printable(like)} is no picture that can be read ({error}): give another file"
        ) from error
    except ValueError as error:
        raise CaptionlakeError(f"{model.model_id} made no usable vector of {printable(like)} ({error})") from error


def _file(like: str) -> bytes | None:
    """The content of the file that is meant, or None where there is no such file."""
    try:
        path = Path(like).expanduser()
        return path.read_bytes() if path.is_file() else None
    except (OSError, ValueError, RuntimeError):
        return None


def _known_picture(lake: Lake, like: str) -> str:
    """The image_id that is meant by an image_id or SOURCE:KEY."""
    if _IMAGE_ID.fullmatch(like) and lake.value("SELECT count(*) FROM images WHERE image_id = ?", [like]):
        return like
    source, _, key = like.partition(":")
    asked = "SELECT image_id FROM images WHERE source = ? AND source_key = ?"
    image_id = None if "\0" in like else lake.value(asked, [source, key])  # DuckLake's own query would end there
    if image_id is None:
        raise CaptionlakeError(
            f"{printable(like)} is no file, and no picture of the lake: give a file, an image_id, or SOURCE:KEY"
        )
    return str(image_id)
