"""A release checked: every hash recomputed, of pictures, rows and the whole."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from captionlake.lake.lake import Lake
from captionlake.lake.progress import progress
from captionlake.lake.releases.content import CHUNK, ContentHash, fetched, row_hash, with_texts
from captionlake.lake.releases.release import Release, find_release


@dataclass(slots=True)
class Verification:
    """What ``verify_release`` found. ``problems`` holds the first hundred, ``n_problems`` counts them all."""

    label: str
    n_items: int
    n_pictures: int
    content_sha256: str
    n_problems: int
    problems: list[str]


def verify_release(lake: Lake, label: str, *, pictures: bool = True) -> Verification:
    """Recompute every hash of a release: pictures from their bytes (if asked), rows from the captions, the whole from the rows."""
    release = find_release(lake, label)
    found = _Problems()
    content = ContentHash()
    with progress(f"verify {label}", release.n_items * (1 + pictures)) as advance:
        for position, named, stored, digest in (_sft_rows if release.kind == "sft" else _image_rows)(lake, release):
            if content.add_digest(digest) != stored:
                found.add(f"row {position} ({named}): {_DIFFERS[release.kind]} are not those of the release")
            advance(1)
        if content.rows != release.n_items or content.hexdigest() != release.content_sha256:
            found.add(f"the content hash of {content.rows:,} rows is not the release's {release.content_sha256}")
        n_pictures = 0
        for image_ids in _release_pictures(lake, release) if pictures else ():
            n_pictures += len(image_ids)
            for problem in lake.damaged(image_ids):
                found.add(problem)
            advance(len(image_ids))
    return Verification(label, content.rows, n_pictures, release.content_sha256, found.count, found.first)


_DIFFERS = {"images": "its captions or keys", "sft": "its turns or its picture"}


def _image_rows(lake: Lake, release: Release) -> Iterator[tuple[int, str, str, str]]:
    """(position, what it is, its hash as stored, and as it is now) of each row of a release of images."""
    query = files("captionlake.lake.releases").joinpath("sql/verify_rows.sql").read_text()
    rows = lake.connection.cursor().execute(query, {"name": release.name, "version": release.version})
    for position, source, key, image_id, split, stored, texts in with_texts(rows, 6):
        yield position, f"{source}:{key}", stored, row_hash(source, key, image_id, split, texts)


def _sft_rows(lake: Lake, release: Release) -> Iterator[tuple[int, str, str, str]]:
    """As ``_image_rows``, of a release of conversations; ``gone`` in the place of the hash of one that is."""
    query = files("captionlake.lake.releases").joinpath("sql/verify_sft_rows.sql").read_text()
    return fetched(lake.connection.cursor().execute(query, {"name": release.name, "version": release.version}))


class _Problems:
    def __init__(self) -> None:
        self.count = 0
        self.first: list[str] = []

    def add(self, problem: str) -> None:
        self.count += 1
        if len(self.first) < 100:
            self.first.append(problem)


def _release_pictures(lake: Lake, release: Release) -> Iterator[list[str]]:
    cursor: Any = lake.connection.cursor().execute(
        'SELECT DISTINCT i.shard, i."row", r.image_id FROM lake.release_items r LEFT JOIN lake.images i USING (image_id) '
        "WHERE r.name = ? AND r.version = ? AND r.image_id IS NOT NULL ORDER BY ALL",
        [release.name, release.version],
    )
    while chunk := cursor.fetchmany(CHUNK):
        yield [image_id for _, _, image_id in chunk]
