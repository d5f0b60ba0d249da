"""Conversation files into the table ``conversations``: each row once, with the pictures of the lake that its paths mean."""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from captionlake.errors import CaptionlakeError
from captionlake.lake.catalog import literal_glob
from captionlake.lake.lake import Lake, insert_new
from captionlake.lake.progress import progress
from captionlake.lake.runs import note_run
from captionlake.lake.sft.origins import count_of, of_origin
from captionlake.lake.sft.paths import Place, place_of_path
from captionlake.lake.sft.record import BadRecord, Record, read_record
from captionlake.lake.sources.json_items import json_batches, refused

WANTED = "a list of id, image and conversations, such as llava_v1_5_mix665k.json"
MEMORY = 256 * 2**20  # bytes that the database may take while conversations are written or read
_ROWS_PER_FILE = 10_000
_ROWS_PER_COMMIT = 20_000
_TOLD = 100  # bad rows that are named

_ROWS = pa.schema(
    [
        ("row", pa.int64()),
        *((name, pa.string()) for name in ("conversation_id", "origin", "record", "turns")),
        ("image_paths", pa.list_(pa.string())),
    ]
)
# In the form that sql/released_names.sql and sql/released_found.sql read.
_PLACES = pa.schema(
    [("row_id", pa.int64()), *((name, pa.string()) for name in ("image", "collection", "subset", "key", "stem", "bad"))]
)


@dataclass(slots=True)
class ImportCounts:
    """Of ``rows`` in a file, ``added`` are new, ``present`` were there, and ``bad`` (by reason) are of the wrong shape.

    ``bad_rows`` names the first hundred of these. ``images`` are the paths of pictures, each counted once, ``in_lake`` those whose
    picture the lake has; ``linked`` rows that were there have got a picture since, or another one.
    """

    origin: str
    rows: int = 0
    added: int = 0
    present: int = 0
    text_only: int = 0
    images: int = 0
    in_lake: int = 0
    linked: int = 0
    bad: dict[str, int] = field(default_factory=dict)
    bad_rows: list[str] = field(default_factory=list)
    seconds: float = 0.0


def import_conversations(lake: Lake, path: Path) -> ImportCounts:
    """Add the rows of a file, under its name. Can be killed and run again; a row that is there is not added twice.

    A row of the wrong shape is counted and left out. Raises where the file is none of conversations, and where other rows are there
    under its name; nothing is written then.
    """
    started = time.monotonic()
    counts = ImportCounts(path.name)
    with lake.staging("conversations") as staging, lake.memory_limit(MEMORY):
        listed = _stage(path, staging, counts)
        _check_same(lake, path, listed)
        _find_pictures(lake, staging, counts)
        with progress(f"import {path.name}", counts.rows) as advance:
            for first in range(1, counts.rows + 1, _ROWS_PER_COMMIT):
                last = min(first + _ROWS_PER_COMMIT - 1, counts.rows)
                added, linked = lake.commit(_Chunk(listed, first, last))
                counts.added += added
                counts.linked += linked
                advance(last - first + 1)
    counts.present = counts.rows - counts.added - sum(counts.bad.values())
    counts.seconds = round(time.monotonic() - started, 3)
    note_run(lake, "conversations", target=counts.origin, detail={"sha256": file_sha256(path)}, counts=asdict(counts))
    return counts


def file_sha256(path: Path) -> str:
    """Of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_imported(lake: Lake, path: Path) -> bool:
    """Whether the newest import under the file's name was of these very bytes, and its rows are still there."""
    row = lake.rows(
        "SELECT detail->>'sha256', (counts->>'added')::BIGINT + (counts->>'present')::BIGINT FROM runs "
        "WHERE step = 'conversations' AND target = ? ORDER BY created_at DESC LIMIT 1",
        [path.name],
    )
    return bool(row) and row[0] == (file_sha256(path), count_of(lake, path.name))


def _stage(path: Path, staging: Path, counts: ImportCounts) -> str:
    """The rows as Parquet; returns their glob. Nothing is written to the lake before the file was read to its end."""
    for name in ("rows", "places"):
        (staging / name).mkdir()
    for number, (rows, places) in enumerate(_batches(path, counts)):
        for name, table in (("rows", rows), ("places", places)):
            pq.write_table(table, staging / name / f"{number:06d}.parquet", compression="zstd", compression_level=1)
    if sum(counts.bad.values()) == counts.rows:
        why = next(iter(counts.bad), None)
        raise refused(path, f"has no conversations{f' ({why})' if why else ''}", WANTED)
    return f"{literal_glob(staging)}/rows/*.parquet"


def _batches(path: Path, counts: ImportCounts) -> Iterator[tuple[pa.Table, pa.Table]]:
    rows: list[dict[str, Any]] = []
    for _, items in json_batches(path, ""):
        for item in items:
            counts.rows += 1
            try:
                record = read_record(item)
            except BadRecord as error:
                why = str(error)
                counts.bad[why] = counts.bad.get(why, 0) + 1
                if len(counts.bad_rows) < _TOLD:
                    counts.bad_rows.append(f"{path.name} row {counts.rows}: {why}")
                continue
            counts.text_only += not record.image_paths
            rows.append(_row(path.name, counts.rows, record))
            if len(rows) == _ROWS_PER_FILE:
                yield _tables(rows)
                rows = []
    if rows or not counts.rows:
        yield _tables(rows)


def _row(name: str, number: int, record: Record) -> dict[str, Any]:
    return {
        "row": number,
        "conversation_id": conversation_id(name, number, record),
        "origin": f"{name}:{number}",
        "record": record.record,
        "turns": record.turns,
        "image_paths": record.image_paths,
    }


def conversation_id(name: str, number: int, record: Record) -> str:
    """A hash of where the row stands and of what it says."""
    named = "\n".join((name, str(number), record.record, record.turns))  # JSON without line feeds
    return hashlib.sha256(named.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _tables(rows: list[dict[str, Any]]) -> tuple[pa.Table, pa.Table]:
    places = [
        _place(row["row"], path, found)
        for row in rows
        for path in row["image_paths"]
        if (found := place_of_path(path)) is not None
    ]
    return pa.Table.from_pylist(rows, _ROWS), pa.Table.from_pylist(places, _PLACES)


def _place(row: int, path: str, found: Place) -> dict[str, Any]:
    named = {"collection": found.collection, "subset": found.subset, "key": found.key, "stem": found.stem}
    return {"row_id": row, "image": path, **named}


def _check_same(lake: Lake, path: Path, listed: str) -> None:
    """Raises where the lake has other rows under this file's name."""
    other = lake.value(
        f"SELECT min(origin) FROM conversations WHERE {of_origin(path.name)} "
        "AND conversation_id NOT IN (SELECT conversation_id FROM read_parquet(?))",
        [listed],
    )
    if other is not None:
        raise CaptionlakeError(
            f"the lake has conversations of another file named {path.name} ({other} differs): rename this one and import it again"
        )


def _find_pictures(lake: Lake, staging: Path, counts: ImportCounts) -> None:
    """Which picture each path means, as the released captions find theirs; leaves ``released_found`` behind."""
    listed = f"{literal_glob(staging)}/places/*.parquet"
    for name in ("released_names", "released_found"):
        text = files("captionlake.lake").joinpath(f"sql/{name}.sql").read_text()
        given = {"listed": listed, "source": "conversations"}
        lake.connection.execute(text, {key: value for key, value in given.items() if f"${key}" in text})
    query = "SELECT count(DISTINCT path) FROM (SELECT unnest(image_paths) AS path FROM read_parquet(?))"
    counts.images = lake.value(query, [f"{literal_glob(staging)}/rows/*.parquet"])
    counts.in_lake = lake.value("SELECT count(*) FROM released_found WHERE n = 1")


@dataclass(frozen=True, slots=True)
class _Chunk:
    """One transaction: the rows of a range that are new, and the pictures of those that are there."""

    listed: str
    first: int
    last: int

    def __call__(self, connection: duckdb.DuckDBPyConnection) -> tuple[int, int]:
        query = files("captionlake.lake").joinpath("sql/listed_conversations.sql").read_text()
        connection.execute(query, {"listed": self.listed, "first": self.first, "last": self.last})
        differ = "new.conversation_id = old.conversation_id AND new.image_ids IS DISTINCT FROM old.image_ids"
        row = connection.execute(
            f"SELECT count(*) FROM conversations old JOIN listed_conversations new ON {differ}"
        ).fetchone()
        linked = int(row[0]) if row else 0
        if linked:
            connection.execute(
                f"UPDATE conversations old SET image_ids = new.image_ids FROM listed_conversations new WHERE {differ}"
            )
        added = insert_new(connection, "conversations", "listed_conversations", ["conversation_id"])
        connection.execute("DROP TABLE listed_conversations")
        return added, linked
