"""Releases: which rows, with which captions, under a name and a version, and a hash over what they say.

A row's hash is the SHA-256 of a JSON array ``[source, source_key, image_id, split, [[role, text], …]]`` (UTF-8, no spaces, no
escapes but JSON's own); the release's ``content_sha256`` is the SHA-256 over its rows' hex digests in order of position, each
followed by a line feed. Both are over content alone, never over generated ids or times, so that anyone can compute them.

A release of conversations (kind ``sft``, made by ``captionlake.lake.sft.sft_release``) has rows ``[image_id, split, record]``: the
SHA-256 of the first picture where the lake has it, else null, and the whole row as it is exported.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.resources import files
from itertools import groupby, islice
from operator import itemgetter
from typing import Any

import duckdb
import pyarrow as pa

from captionlake.errors import CaptionlakeError
from captionlake.lake.catalog import quote
from captionlake.lake.lake import Lake
from captionlake.lake.progress import progress
from captionlake.lake.release_config import ReleaseConfig
from captionlake.lake.release_names import parse_release, release_row

ITEMS = pa.schema(
    [
        ("position", pa.int64()),
        *((name, pa.string()) for name in ("source", "source_key", "image_id", "split", "row_sha256")),
    ]
)
_NAMED = pa.schema([(name, pa.string()) for name in ("source", "source_key", "caption_id")])
_BY_NAME = "(chosen.source, chosen.source_key, c.caption_id) IN (SELECT (source, source_key, caption_id) FROM _named)"
_BY_PRODUCER = (
    "list_contains($producers, c.producer) AND c.caption_id NOT IN "
    "(SELECT caption_id FROM caption_flags AT (VERSION => :snapshot) WHERE list_contains($refuse, flag))"
)
_CHUNK = 20_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """What a release is to hold, chosen at one snapshot.

    ``items``: source, source_key, image_id, split. ``exclusions``: source, source_key, reason, detail, keeper_source,
    keeper_key, similarity. Together they name every row of ``images`` at the snapshot once. ``producers``: whose captions go in,
    but none with a flag of ``refuse``; or ``captions``, which names them: source, source_key, caption_id.
    """

    config: ReleaseConfig
    recipe: str
    snapshot: int
    items: pa.Table
    exclusions: pa.Table
    producers: list[str]
    refuse: list[str] = field(default_factory=list)
    captions: pa.Table | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """A row of ``releases``."""

    name: str
    version: str
    kind: str
    snapshot_id: int
    content_sha256: str
    n_items: int
    state: str
    created_at: datetime

    @property
    def label(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.version}"


_COLUMNS = "name, version, kind, snapshot_id, content_sha256, n_items, state, created_at"


def list_releases(lake: Lake) -> list[Release]:
    """All releases, oldest first."""
    return [Release(*row) for row in lake.rows(f"SELECT {_COLUMNS} FROM releases ORDER BY created_at, name, version")]


def find_release(lake: Lake, label: str) -> Release:
    """The release ``name@version``. Raises with the releases that there are."""
    return Release(*release_row(lake.connection, *parse_release(label), _COLUMNS))  # type: ignore[arg-type]


def create_release(lake: Lake, draft: Draft) -> tuple[Release, bool]:
    """Write a release, all of it in one transaction. Returns it, and whether it is new.

    The same content under the same name and version is the release that is there already; other content is refused.
    """
    _check_complete(lake, draft)
    items, content = _items(lake, draft)
    header = release_row_of(
        draft.config,
        kind="images",
        recipe=draft.recipe,
        snapshot=draft.snapshot,
        content=content,
        n_items=items.num_rows,
    )
    rows = {
        "release_items": "FROM _items",
        "release_captions": "SELECT position, ordinal, caption_id, role FROM draft_captions",
        "exclusions": "FROM _exclusions",
    }
    return write_release(lake, header, rows, _items=items, _exclusions=draft.exclusions)


def release_row_of(
    config: ReleaseConfig, *, kind: str, recipe: str, snapshot: int, content: str, n_items: int
) -> dict[str, Any]:
    """The new row of ``releases``."""
    return {
        "name": config.name,
        "version": config.version,
        "kind": kind,
        "snapshot_id": snapshot,
        "recipe": recipe,
        "recipe_sha256": hashlib.sha256(recipe.encode()).hexdigest(),
        "content_sha256": content,
        "n_items": n_items,
        "state": "valid",
        "created_at": datetime.now(UTC),
    }


def write_release(
    lake: Lake, header: dict[str, Any], rows: Mapping[str, str], **tables: pa.Table
) -> tuple[Release, bool]:
    """Add a row of ``releases``, and to each table of ``rows`` what its query gives, in one transaction.

    The same content under the same name and version is the release that is there already; other content is refused.
    """
    name, version, content = header["name"], header["version"], header["content_sha256"]

    def change(connection: duckdb.DuckDBPyConnection) -> bool:
        there = connection.execute(
            "SELECT content_sha256 FROM releases WHERE name = ? AND version = ?", [name, version]
        ).fetchone()
        if there is not None:
            if there[0] == content:
                return False
            raise CaptionlakeError(
                f"release {name}@{version} is there already with other content ({there[0][:12]}, now {content[:12]}): "
                "give [release] a new version"
            )
        connection.execute("INSERT INTO releases BY NAME FROM _release")
        for table, query in rows.items():
            connection.execute(
                f"INSERT INTO {table} BY NAME SELECT {quote(name)} AS name, {quote(version)} AS version, * FROM ({query})"
            )
        return True

    new = lake.commit(change, _release=pa.Table.from_pylist([header]), **tables)
    return find_release(lake, f"{name}@{version}"), new


def _check_complete(lake: Lake, draft: Draft) -> None:
    """Every image row at the snapshot is an item or an exclusion, once."""
    with lake.registered(_chosen=draft.items, _left=draft.exclusions):
        wrong = lake.value(
            "SELECT count(*) FROM (SELECT source, source_key FROM _chosen UNION ALL SELECT source, source_key FROM _left) c "
            f"FULL JOIN (SELECT source, source_key, 1 AS there FROM images AT (VERSION => {draft.snapshot:d})) i "
            "USING (source, source_key) GROUP BY source, source_key HAVING count(*) <> 1 OR count(there) <> 1 LIMIT 1"
        )
        total = lake.value(f"SELECT count(*) FROM images AT (VERSION => {draft.snapshot:d})")
    if wrong or total != draft.items.num_rows + draft.exclusions.num_rows:
        raise CaptionlakeError(
            "the choice for the release does not account for every image once: please report this with the recipe as a bug"
        )


def _items(lake: Lake, draft: Draft) -> tuple[pa.Table, str]:
    """The items in order of source and key, with positions and hashes, and the content hash; leaves ``draft_captions`` behind."""
    connection = lake.connection
    with lake.registered(_chosen=draft.items):
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE chosen AS SELECT row_number() OVER (ORDER BY source, source_key) - 1 AS position, "
            "source, source_key, image_id, split FROM _chosen"
        )
    query = files("captionlake.lake").joinpath("sql/draft_captions.sql").read_text()
    named, asked = draft.captions, {"producers": draft.producers, "refuse": draft.refuse}
    query = query.replace(":whose", _BY_PRODUCER if named is None else _BY_NAME)
    with lake.registered(_named=_NAMED.empty_table() if named is None else named):
        connection.execute(query.replace(":snapshot", str(draft.snapshot)), asked if named is None else None)
    rows = connection.execute(
        "SELECT position, source, source_key, image_id, split, role, text FROM chosen LEFT JOIN draft_captions USING (position) "
        "ORDER BY position, ordinal"
    )
    content = ContentHash()
    tables = [ITEMS.empty_table()]
    with progress("release", draft.items.num_rows) as advance:
        hashed = _hashed(rows, content)
        while chunk := list(islice(hashed, _CHUNK)):
            columns = zip(*chunk, strict=True)
            tables.append(pa.table([pa.array(c, f.type) for c, f in zip(columns, ITEMS, strict=True)], ITEMS))
            advance(len(chunk))
    return pa.concat_tables(tables), content.hexdigest()


def _hashed(rows: duckdb.DuckDBPyConnection, content: "ContentHash") -> Iterator[tuple[Any, ...]]:
    for position, source, key, image_id, split, texts in _with_texts(rows, 5):
        yield position, source, key, image_id, split, content.add(source, key, image_id, split, texts)


def _with_texts(rows: duckdb.DuckDBPyConnection, keys: int) -> Iterator[list[Any]]:
    """Result rows of ``keys`` columns, then role and text, gathered by the first column: the keys, then the pairs of role and text."""
    for _, group in groupby(fetched(rows), key=itemgetter(0)):
        first, *others = group
        yield [*first[:keys], [[role, text] for *_, role, text in (first, *others) if text is not None]]


def fetched(rows: duckdb.DuckDBPyConnection) -> Iterator[tuple[Any, ...]]:
    """The rows of a result, some thousand at a time."""
    while chunk := rows.fetchmany(_CHUNK):
        yield from chunk


def row_hash(source: str, source_key: str, image_id: str, split: str, texts: list[list[str]]) -> str:
    """The hash of one row; ``texts`` are pairs of role and text in order."""
    content = [source, source_key, image_id, split, texts]
    return hashlib.sha256(json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()


class ContentHash:
    """The hash of a release, row by row."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.rows = 0

    def add(self, source: str, source_key: str, image_id: str, split: str, texts: list[list[str]]) -> str:
        """Take in the next row; returns its own hash."""
        return self.add_digest(row_hash(source, source_key, image_id, split, texts))

    def add_digest(self, digest: str) -> str:
        """Take in the next row by its hash, and return that."""
        self._hash.update(f"{digest}\n".encode())
        self.rows += 1
        return digest

    def hexdigest(self) -> str:
        """The hash of the rows so far."""
        return self._hash.hexdigest()


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
    query = files("captionlake.lake").joinpath("sql/verify_rows.sql").read_text()
    rows = lake.connection.cursor().execute(query, {"name": release.name, "version": release.version})
    for position, source, key, image_id, split, stored, texts in _with_texts(rows, 6):
        yield position, f"{source}:{key}", stored, row_hash(source, key, image_id, split, texts)


def _sft_rows(lake: Lake, release: Release) -> Iterator[tuple[int, str, str, str]]:
    """As ``_image_rows``, of a release of conversations; ``gone`` in the place of the hash of one that is."""
    query = files("captionlake.lake").joinpath("sql/verify_sft_rows.sql").read_text()
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
    while chunk := cursor.fetchmany(_CHUNK):
        yield [image_id for _, _, image_id in chunk]
