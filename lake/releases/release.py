"""Releases: which rows, with which captions, under a name and a version, and a hash over what they say (``content.py``)."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.resources import files
from itertools import islice
from typing import Any

import duckdb
import pyarrow as pa

from captionlake.errors import CaptionlakeError
from captionlake.lake.catalog import quote
from captionlake.lake.lake import Lake
from captionlake.lake.progress import progress
from captionlake.lake.releases.config import ReleaseConfig
from captionlake.lake.releases.content import CHUNK, ContentHash, with_texts
from captionlake.lake.releases.names import parse_release, release_row
from captionlake.lake.releases.semver import parent_version, precedence

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
    parent: str | None = None  # NAME@VERSION of the version before

    @property
    def label(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.version}"


_COLUMNS = "name, version, kind, snapshot_id, content_sha256, n_items, state, created_at, parent"


def list_releases(lake: Lake) -> list[Release]:
    """All releases by name, the versions of each in order of precedence."""
    found = [Release(*row) for row in lake.rows(f"SELECT {_COLUMNS} FROM releases")]
    return sorted(found, key=lambda release: (release.name, precedence(release.version), release.created_at))


def find_release(lake: Lake, label: str) -> Release:
    """The release ``name@version``. Raises with the releases that there are."""
    return Release(*release_row(lake.connection, *parse_release(label), _COLUMNS))  # type: ignore[arg-type]


def create_release(lake: Lake, draft: Draft) -> tuple[Release, bool]:
    """Write a release, all of it in one transaction. Returns it, and whether it is new.

    The same content under the same name and version is the release that is there already; other content is refused.
    """
    _check_complete(lake, draft)
    items, content = draft_items(lake, draft)
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

    Its parent is the highest version of the name, of the same kind, that is not above it. The same content under the same name and
    version is the release that is there already; other content is refused.
    """
    name, version, content = header["name"], header["version"], header["content_sha256"]
    snapshot, kind = header["snapshot_id"], header["kind"]

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
        _check_snapshot(connection, snapshot)
        before = connection.execute("SELECT version FROM releases WHERE name = ? AND kind = ?", [name, kind]).fetchall()
        parent = parent_version(version, [other for (other,) in before])
        label = None if parent is None else f"{name}@{parent}"
        connection.execute("INSERT INTO releases BY NAME SELECT *, ?::VARCHAR AS parent FROM _release", [label])
        for table, query in rows.items():
            connection.execute(
                f"INSERT INTO {table} BY NAME SELECT {quote(name)} AS name, {quote(version)} AS version, * FROM ({query})"
            )
        return True

    new = lake.commit(change, _release=pa.Table.from_pylist([header]), **tables)
    return find_release(lake, f"{name}@{version}"), new


def _check_snapshot(connection: duckdb.DuckDBPyConnection, snapshot: int) -> None:
    """Under the write lock, so that nobody lets it go before the release pins it."""
    there = "SELECT 1 FROM ducklake_snapshots('lake') WHERE snapshot_id = ?"
    if connection.execute(there, [snapshot]).fetchone() is None:
        raise CaptionlakeError(
            f"snapshot {snapshot}, of which the choice was made, has been let go meanwhile: run the same command again"
        )


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


def draft_items(lake: Lake, draft: Draft) -> tuple[pa.Table, str]:
    """The items (``ITEMS``) in order of source and key, with positions and hashes, and the content hash. Writes nothing to the lake;
    leaves the temporary table ``draft_captions`` behind."""
    connection = lake.connection
    with lake.registered(_chosen=draft.items):
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE chosen AS SELECT row_number() OVER (ORDER BY source, source_key) - 1 AS position, "
            "source, source_key, image_id, split FROM _chosen"
        )
    query = files("captionlake.lake.releases").joinpath("sql/draft_captions.sql").read_text()
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
        while chunk := list(islice(hashed, CHUNK)):
            columns = zip(*chunk, strict=True)
            tables.append(pa.table([pa.array(c, f.type) for c, f in zip(columns, ITEMS, strict=True)], ITEMS))
            advance(len(chunk))
    return pa.concat_tables(tables), content.hexdigest()


def _hashed(rows: duckdb.DuckDBPyConnection, content: ContentHash) -> Iterator[tuple[Any, ...]]:
    for position, source, key, image_id, split, texts in with_texts(rows, 5):
        yield position, source, key, image_id, split, content.add(source, key, image_id, split, texts)
