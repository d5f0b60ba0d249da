"""A release checked: every hash recomputed, of pictures, rows and the whole."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from itertools import groupby
from operator import itemgetter
from typing import Any

from captionlake.errors import CaptionlakeError
from captionlake.lake.lake import Lake
from captionlake.lake.parallel_reader import ParallelReader
from captionlake.lake.progress import progress
from captionlake.lake.releases.content import CHUNK, ContentHash, fetched, row_hash, with_texts
from captionlake.lake.releases.redacted import redacted_rows
from captionlake.lake.releases.release import Release, find_release
from captionlake.lake.runs import note_run
from captionlake.lake.shards import Locator
from captionlake.lake.storage import Storage

log = logging.getLogger(__name__)

VERIFY = "verify"  # the step of a row of ``runs``; its target is a release, or none for all pictures of the lake
_SHOWN = 100


@dataclass(slots=True)
class Verification:
    """What ``verify_release`` found. ``problems`` holds the first hundred, ``n_problems`` counts them all; ``n_redacted`` rows hold a
    picture no more, as it was taken down: of them the hash is left, and is taken as it is."""

    label: str
    n_items: int
    n_pictures: int
    n_redacted: int
    content_sha256: str
    n_problems: int
    problems: list[str]

    @property
    def said(self) -> str:
        """Valid, or with what exception."""
        return f"valid except {self.n_redacted:,} redacted" if self.n_redacted else "valid"


def verify_release(lake: Lake, label: str, *, pictures: bool = True) -> Verification:
    """Recompute every hash of a release: pictures from their bytes (if asked), rows from the captions, the whole from the rows."""
    release = find_release(lake, label)
    found = _Problems()
    content = ContentHash()
    gone = dict(redacted_rows(lake, release))
    n_pictures = 0
    with progress(f"verify {label}", release.n_items * (1 + pictures)) as advance:
        for position, named, stored, digest in (_sft_rows if release.kind == "sft" else _image_rows)(lake, release):
            if content.add_digest(gone.get(position, digest)) != stored:
                found.add(f"row {position} ({named}): {_DIFFERS[release.kind]} are not those of the release")
            advance(1)
        if content.rows != release.n_items or content.hexdigest() != release.content_sha256:
            found.add(f"the content hash of {content.rows:,} rows is not the release's {release.content_sha256}")
        if gone and release.state != "redacted":
            found.add(f"{len(gone):,} rows have no picture, and no takedown says so")
        if pictures:
            for n, problems in _check_pictures(lake, release):
                n_pictures += n
                for problem in problems:
                    found.add(problem)
                advance(n)
    return Verification(label, content.rows, n_pictures, len(gone), release.content_sha256, found.count, found.first)


def note_verification(lake: Lake, found: Verification) -> None:
    """Leave a row of ``runs``, by which ``doctor`` knows when a release was verified. Who may only read may verify too."""
    counts = {name: getattr(found, name) for name in ("n_items", "n_pictures", "n_redacted", "n_problems")}
    try:
        note_run(lake, VERIFY, target=found.label, detail={"content_sha256": found.content_sha256}, counts=counts)
    except CaptionlakeError as error:
        log.warning("that %s was verified could not be noted: %s", found.label, error)


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


def _check_pictures(lake: Lake, release: Release) -> Iterator[tuple[int, list[str]]]:
    """Some pictures at a time, in the order in which they lie: how many, and what is wrong with which row. A missing shard is told once."""
    query = files("captionlake.lake.releases").joinpath("sql/verify_pictures.sql").read_text()
    cursor: Any = lake.connection.cursor().execute(query, {"name": release.name, "version": release.version})
    images = lake.images
    told: set[str] = set()
    there: dict[str, bool] = {}
    with ParallelReader(images) as reader:
        while rows := cursor.fetchmany(CHUNK):
            problems: list[str] = []
            for shard, some in groupby(rows, key=itemgetter(0)):
                if shard is not None and shard not in there:
                    there[shard] = images.size(shard) is not None
                problems += _check_shard(reader, images, shard, list(some), told, there)
            yield len(rows), problems


def _check_shard(
    reader: ParallelReader,
    images: Storage,
    shard: str | None,
    rows: list[tuple[Any, ...]],
    told: set[str],
    there: dict[str, bool],
) -> Iterator[str]:
    if shard is None:
        for *_, image_id, position, named, _ in rows:
            yield f"row {position} ({named}): picture {image_id} is not in the lake"
    elif not there[shard]:
        if shard not in told:
            told.add(shard)
            *_, in_shard = rows[0]
            yield f"{images.url}/{shard} is missing, with {in_shard:,} pictures of the release: restore it from a backup"
    else:
        places = [(image_id, Locator(shard, row, offset, n)) for _, row, offset, n, image_id, *_ in rows]
        for (*_, position, named, _), problem in zip(rows, reader.check(places), strict=True):
            if problem is not None:
                yield f"row {position} ({named}): {problem}"


class _Problems:
    def __init__(self) -> None:
        self.count = 0
        self.first: list[str] = []

    def add(self, problem: str) -> None:
        self.count += 1
        if len(self.first) < _SHOWN:
            self.first.append(problem)
