"""Which pictures and rows a request means."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from captionlake.errors import CaptionlakeError
from captionlake.lake.lake import Lake
from captionlake.lake.pictures import PictureError, inspect
from captionlake.lake.takedown.tombstone import Hashes, key_hash, url_hash

NEAR_BITS = 10  # of 64, by which the perceptual hashes of candidates differ at most


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What is to go. Of the pictures that look like ``like`` also, by their perceptual hash, those that differ in ``within`` bits or
    fewer and, by an embedding model, those with a cosine of ``threshold`` or more; without these they are only told.

    ``alike`` is the model's view: (image_id, cosine) of the pictures nearest to a file, all from ``threshold`` up among them.
    """

    urls: Sequence[str] = ()
    image_ids: Sequence[str] = ()
    keys: Sequence[tuple[str, str]] = ()
    like: Sequence[Path] = ()
    within: int | None = None
    threshold: float | None = None
    alike: Callable[[Path], Sequence[tuple[str, float]]] | None = None


@dataclass(frozen=True, slots=True)
class Near:
    """A picture that looks like a file of the request: in how many bits of 64 it differs, and the cosine where a model was asked."""

    image_id: str
    bits: int
    source: str
    source_key: str
    taken: bool  # by ``within`` or ``threshold``
    cosine: float | None = None


@dataclass(slots=True)
class Found:
    """``hashes`` of all that a request means; ``rows``: (source, source_key, url) of the lake among them, with or without a picture."""

    hashes: Hashes
    rows: list[tuple[str, str, str | None]]
    near: list[Near] = field(default_factory=list)


def find(lake: Lake, request: Request) -> Found:
    """What the request means in this lake. Raises where it names a thing that is not there, URLs and keys excepted if ``like`` is given."""
    ids = set(request.image_ids)
    near: dict[str, Near] = {}
    for path in request.like:
        ids |= _exact(path)
        for one in _near(lake, path, request):
            if one.image_id not in ids:
                before = near.get(one.image_id)
                near[one.image_id] = before if before is not None and before.taken else one
    ids |= {one.image_id for one in near.values() if one.taken}
    asked = {
        "ids": sorted(ids),
        "urls": list(request.urls),
        "keys": [f"{source}:{key}" for source, key in request.keys],
    }
    named = "list_contains($urls, url) OR list_contains($keys, source || ':' || source_key)"
    ids |= {
        found
        for (found,) in lake.rows(
            f"SELECT DISTINCT image_id FROM images WHERE {named} OR list_contains($ids, image_id)", asked
        )
    }
    asked["ids"] = sorted(ids)
    rows = lake.rows(
        f"SELECT source, source_key, url FROM images WHERE {named} OR list_contains($ids, image_id) "
        f"UNION SELECT source, source_key, url FROM fetch_failures WHERE {named} ORDER BY ALL",
        asked,
    )
    known = {
        found
        for (found,) in lake.rows(
            "SELECT image_id FROM images WHERE list_contains($ids, image_id)", {"ids": sorted(ids)}
        )
    }
    lost = [one for one in request.image_ids if one not in known]
    lost += [url for url in request.urls if url not in {row[2] for row in rows}]
    lost += [f"{source}:{key}" for source, key in request.keys if (source, key) not in {row[:2] for row in rows}]
    if lost:
        raise CaptionlakeError(
            f"the lake {lake.path} has nothing of {', '.join(lost[:5])}: look with  captionlake sql "
            "'SELECT source, source_key, image_id, url FROM images'"
        )
    hashes = Hashes(
        sorted(ids & known),
        sorted({key_hash(source, key) for source, key, _ in rows}),
        sorted({url_hash(url) for *_, url in rows if url}),
    )
    return Found(hashes, rows, sorted(near.values(), key=lambda one: (-(one.cosine or 0.0), one.bits, one.image_id)))


def _exact(path: Path) -> set[str]:
    try:
        return {hashlib.sha256(path.read_bytes()).hexdigest()}
    except OSError as error:
        raise CaptionlakeError(f"{path} cannot be read ({error.strerror})") from error


def _near(lake: Lake, path: Path, request: Request) -> list[Near]:
    try:
        picture = inspect(path.read_bytes())
    except PictureError as error:
        raise CaptionlakeError(f"{path} is no picture that can be compared ({error.detail})") from error
    cosines = dict(request.alike(path)) if request.alike is not None else {}
    rows = lake.rows(
        "SELECT DISTINCT ON (image_id) image_id, bit_count(xor(phash, $phash::UBIGINT)) AS bits, source, source_key FROM images "
        "WHERE bits <= $most OR list_contains($ids, image_id) ORDER BY image_id, source, source_key",
        {"phash": picture.phash, "most": max(NEAR_BITS, request.within or 0), "ids": list(cosines)},
    )
    return [
        Near(image_id, bits, source, key, _taken(bits, cosines.get(image_id), request), cosines.get(image_id))
        for image_id, bits, source, key in rows
    ]


def _taken(bits: int, cosine: float | None, request: Request) -> bool:
    near = request.within is not None and bits <= request.within
    return near or (request.threshold is not None and cosine is not None and cosine >= request.threshold)
