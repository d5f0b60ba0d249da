"""What must be true of a lake whatever was done to it, looked at from outside: DuckDB over the tables, PyArrow over the shards.

Nothing of captionlake is imported: what checks must not be what is checked. A ledger, a file beside the lake, remembers what was
committed, so that nothing vanishes without a takedown. To be called while no process is at work in the lake.
"""

import hashlib
import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq

REASONS = {
    *("not_found", "forbidden", "rate_limited", "server_error", "timeout", "connection", "bad_url", "blocked_scheme"),
    *(
        "blocked_address",
        "redirect_loop",
        "too_large",
        "opted_out",
        "not_an_image",
        "truncated",
        "decode_error",
        "bomb",
    ),
    *("missing_member", "unsafe_member", "bad_row", "changed", "taken_down"),
}
#: tables with a key, by which no two rows are alike
KEYS = {
    "images": "source, source_key",
    "fetch_failures": "source, source_key",
    "embeddings": "image_id, model_id",
    "similar_pairs": "image_id, other_id, model_id, method",
    "captions": "caption_id",
    "sources": "source",
    "releases": "name, version",
    "release_items": "name, version, position",
    "release_captions": "name, version, position, ordinal",
    "exclusions": "name, version, source, source_key",
    "takedowns": "takedown_id",
    "runs": "run_id",
}
#: rows that name what is not there
ORPHANS = {
    "captions of no picture": "SELECT caption_id FROM captions ANTI JOIN images USING (image_id)",
    "captions of no row": "SELECT caption_id FROM captions WHERE source IS NOT NULL AND (source, source_key, image_id) NOT IN "
    "(SELECT (source, source_key, image_id) FROM images)",
    "embeddings of no picture": "SELECT image_id FROM embeddings ANTI JOIN images USING (image_id)",
    "pairs of no picture": "SELECT image_id, other_id FROM similar_pairs WHERE image_id NOT IN (SELECT image_id FROM images) "
    "OR other_id NOT IN (SELECT image_id FROM images)",
    "flags of no caption": "SELECT caption_id FROM caption_flags ANTI JOIN captions USING (caption_id)",
    "rows of no source": "SELECT source FROM images ANTI JOIN sources USING (source)",
    "items of no release": "SELECT name, version FROM release_items ANTI JOIN releases USING (name, version)",
    "captions of no item": "SELECT * FROM release_captions ANTI JOIN release_items USING (name, version, position)",
    "captions of a release that are gone": "SELECT caption_id FROM release_captions ANTI JOIN captions USING (caption_id)",
    "rows with a picture and a failure": "SELECT source, source_key FROM images SEMI JOIN fetch_failures USING (source, source_key)",
}
_FILES = (
    "SELECT concat_ws('/', s.path || t.path, f.path) FROM (SELECT table_id, path FROM __ducklake_metadata_lake.ducklake_data_file "
    "UNION ALL SELECT table_id, path FROM __ducklake_metadata_lake.ducklake_delete_file) f "
    "JOIN __ducklake_metadata_lake.ducklake_table t USING (table_id) JOIN __ducklake_metadata_lake.ducklake_schema s USING (schema_id)"
)
_QUICK_CHECK = (
    "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('PRAGMA integrity_check').fetchone()[0])"
)


@dataclass
class Violation(Exception):
    """An invariant that does not hold, and the first rows for which it does not."""

    invariant: str
    rows: list[Any]

    def __str__(self) -> str:
        return f"{self.invariant}: {len(self.rows)} rows, the first {self.rows[:5]}"


@dataclass
class Tombstones:
    """Hashes of what was taken down, of takedowns that are done and, apart, of those that are on their way too."""

    done: dict[str, set[str]]
    every: dict[str, set[str]]

    def explains(self, source: str | None, key: str | None, image_id: str | None, url: str | None = None) -> bool:
        """Whether such a row may have vanished."""
        return (
            image_id in self.every["image_ids"]
            or (source is not None and _sha(f"key:{source}:{key}") in self.every["keys"])
            or (url is not None and _sha(f"url:{url}") in self.every["urls"])
        )


@dataclass
class Ledger:
    """What was seen in the lake, and lists that were worked off to their end: ``listed`` has their (source, key)."""

    path: Path
    images: set[tuple[str, str, str]] = field(default_factory=set)
    captions: set[tuple[str, str]] = field(default_factory=set)
    embeddings: set[tuple[str, str]] = field(default_factory=set)
    releases: dict[str, tuple[str, int]] = field(default_factory=dict)
    takedowns: set[str] = field(default_factory=set)
    runs: set[str] = field(default_factory=set)
    listed: set[tuple[str, str]] = field(default_factory=set)
    checks: int = 0

    def save(self) -> None:
        """For study, and for a soak that goes on."""
        told = {
            name: [list(row) if isinstance(row, tuple) else row for row in sorted(getattr(self, name))]
            for name in ("images", "captions", "embeddings", "takedowns", "runs", "listed")
        }
        self.path.write_text(json.dumps(told | {"releases": self.releases, "checks": self.checks}))

    @classmethod
    def load(cls, path: Path) -> "Ledger":
        """The ledger of a file; an empty one where there is none."""
        made = cls(path)
        if path.exists():
            told = json.loads(path.read_text())
            for name in ("images", "captions", "embeddings", "listed"):
                setattr(made, name, {tuple(row) for row in told[name]})
            made.takedowns, made.runs = set(told["takedowns"]), set(told["runs"])
            made.releases = {label: (content, n) for label, (content, n) in told["releases"].items()}
            made.checks = told["checks"]
        return made


class Checker:
    """Looks at a lake; raises ``Violation`` for the first thing that is wrong."""

    def __init__(self, lake: Path, ledger: Path) -> None:
        self.lake = lake
        self.ledger = Ledger.load(ledger)

    def check(self, *, settled: bool = False) -> dict[str, int]:
        """Every invariant; ``settled``: all work has just ended well, so that nothing may be under way. Returns counts."""
        self._sqlite()
        connection = self._open()
        try:
            tombstones = self._tombstones(connection)
            self._files(connection)
            self._tables(connection)
            self._pictures(connection, tombstones)
            self._gone(connection, tombstones)
            self._vanished(connection, tombstones)
            self._accounted(connection, tombstones)
            self._releases(connection, tombstones)
            if settled:
                self._nothing_under_way(tombstones)
            counts = {
                table: int(connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0]) for table in KEYS
            }
        finally:
            connection.close()
        self.ledger.checks += 1
        self.ledger.save()
        return counts

    # The parts

    def _sqlite(self) -> None:
        """By a process of its own: two SQLite libraries with one file open undo each other's locks."""
        told = subprocess.run(
            [sys.executable, "-I", "-c", _QUICK_CHECK, str(self.lake / "catalog.sqlite")],
            capture_output=True,
            text=True,
            check=False,
        )
        self._must("the catalog is whole", [] if told.stdout.strip() == "ok" else [told.stdout + told.stderr])

    def _open(self) -> duckdb.DuckDBPyConnection:
        off = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
        connection = duckdb.connect(config={**off})
        connection.execute("SET TimeZone = 'UTC'")
        for name in ("ducklake", "sqlite_scanner"):
            folder = Path(importlib.import_module(f"duckdb_extension_{name}").__path__[0])
            connection.execute(f"LOAD '{folder}/extensions/v{duckdb.__version__}/{name}.duckdb_extension'")
        connection.execute(
            f"ATTACH 'ducklake:sqlite:{self.lake}/catalog.sqlite' AS lake "
            f"(DATA_PATH '{self.lake}/data', OVERRIDE_DATA_PATH true, META_JOURNAL_MODE 'WAL', READ_ONLY)"
        )
        connection.execute("USE lake")
        return connection

    @staticmethod
    def _must(invariant: str, wrong: list[Any]) -> None:
        if wrong:
            raise Violation(invariant, wrong)

    def _tombstones(self, connection: duckdb.DuckDBPyConnection) -> Tombstones:
        found = Tombstones(*({name: set[str]() for name in ("image_ids", "keys", "urls")} for _ in range(2)))
        for asked, touched in connection.execute("SELECT asked, touched::VARCHAR FROM takedowns").fetchall():
            for name, values in json.loads(asked).items():
                found.every[name].update(values)
                if json.loads(touched)["state"] == "done":
                    found.done[name].update(values)
        return found

    def _files(self, connection: duckdb.DuckDBPyConnection) -> None:
        paths = [path for (path,) in connection.execute(_FILES).fetchall()]
        self._must("files of tables are there", [path for path in paths if not (self.lake / "data" / path).is_file()])

    def _tables(self, connection: duckdb.DuckDBPyConnection) -> None:
        for table, key in KEYS.items():
            query = f"SELECT {key}, count(*) FROM {table} GROUP BY ALL HAVING count(*) > 1"
            self._must(f"{table} has each key once", connection.execute(query).fetchall())
        for name, query in ORPHANS.items():
            self._must(f"no {name}", connection.execute(query).fetchall())
        rows = connection.execute("SELECT source, source_key, reason FROM fetch_failures").fetchall()
        self._must("failures have a reason", [row for row in rows if row[2] not in REASONS])

    def _pictures(self, connection: duckdb.DuckDBPyConnection, tombstones: Tombstones) -> None:
        """Bytes at the offset, by the file itself; the row of the shard, by PyArrow; and every shard a whole Parquet file."""
        shards = {path.name: pq.read_table(path) for path in sorted((self.lake / "images").glob("shard-*.parquet"))}
        query = 'SELECT DISTINCT image_id, shard, "row", "offset", n_bytes FROM images ORDER BY shard, "row"'
        rows = connection.execute(query).fetchall()
        self._must("shards are there", [row for row in rows if row[1] not in shards])
        places: dict[str, Any] = {}
        wrong: list[Any] = []
        for image_id, shard, row, offset, n_bytes in rows:
            with (self.lake / "images" / shard).open("rb") as file:
                file.seek(offset)
                data = file.read(n_bytes)
            stored = shards[shard]
            same = row < len(stored) and stored["image_id"][row].as_py() == image_id
            same = same and stored["bytes"][row].as_py() == data
            right = same and hashlib.sha256(data).hexdigest() == image_id
            if not right and image_id not in tombstones.every["image_ids"]:
                wrong.append((image_id, shard, row, offset))
            if places.setdefault(image_id, (shard, row)) != (shard, row):
                wrong.append((image_id, places[image_id], (shard, row)))
        self._must("bytes of pictures hash to their id, at one place", wrong)
        kept = [
            (name, row)
            for name, stored in shards.items()
            for row, data in enumerate(stored["bytes"].to_pylist())
            if hashlib.sha256(data).hexdigest() in tombstones.done["image_ids"]
        ]
        self._must("no shard keeps a picture that was taken down", kept)

    def _gone(self, connection: duckdb.DuckDBPyConnection, tombstones: Tombstones) -> None:
        done = tombstones.done
        for table in ("images", "captions", "embeddings"):
            rows = connection.execute(f"SELECT DISTINCT image_id FROM {table}").fetchall()
            self._must(f"{table} has nothing that was taken down", [row for row in rows if row[0] in done["image_ids"]])
        for source, key, url in connection.execute("SELECT source, source_key, url FROM images").fetchall():
            named = _sha(f"key:{source}:{key}") in done["keys"] or (url and _sha(f"url:{url}") in done["urls"])
            self._must("no row comes back that was taken down", [(source, key, url)] if named else [])

    def _vanished(self, connection: duckdb.DuckDBPyConnection, tombstones: Tombstones) -> None:
        ledger = self.ledger
        images = set(connection.execute("SELECT source, source_key, image_id FROM images").fetchall())
        lost: list[Any] = [row for row in ledger.images - images if not tombstones.explains(*row, url=row[1])]
        self._must("no row of images vanishes", lost)
        captions = set(connection.execute("SELECT caption_id, image_id FROM captions").fetchall())
        lost = [row for row in ledger.captions - captions if not tombstones.explains(None, None, row[1])]
        self._must("no caption vanishes", lost)
        embeddings = set(connection.execute("SELECT image_id, model_id FROM embeddings").fetchall())
        lost = [row for row in ledger.embeddings - embeddings if not tombstones.explains(None, None, row[0])]
        self._must("no embedding vanishes", lost)
        takedowns = {row[0] for row in connection.execute("SELECT takedown_id FROM takedowns").fetchall()}
        self._must("no takedown vanishes", sorted(ledger.takedowns - takedowns))
        runs = {row[0] for row in connection.execute("SELECT run_id FROM runs").fetchall()}
        self._must("no run vanishes", sorted(ledger.runs - runs))
        ledger.images, ledger.captions, ledger.embeddings = images, captions, embeddings
        ledger.takedowns, ledger.runs = takedowns, runs

    def _accounted(self, connection: duckdb.DuckDBPyConnection, tombstones: Tombstones) -> None:
        query = "SELECT source, source_key FROM images UNION SELECT source, source_key FROM fetch_failures"
        have = set(connection.execute(query).fetchall())
        lost = [row for row in self.ledger.listed - have if not tombstones.explains(*row, None, url=row[1])]
        self._must("each listed row has a picture or a failure", lost)

    def _releases(self, connection: duckdb.DuckDBPyConnection, tombstones: Tombstones) -> None:
        snapshots = {
            row[0] for row in connection.execute("SELECT snapshot_id FROM ducklake_snapshots('lake')").fetchall()
        }
        query = "SELECT name, version, content_sha256, n_items, state, snapshot_id FROM releases"
        found: dict[str, tuple[str, int]] = {}
        for name, version, content, n_items, state, snapshot in connection.execute(query).fetchall():
            label = f"{name}@{version}"
            found[label] = content, n_items
            self._must("the snapshot of a release is there", [] if snapshot in snapshots else [(label, snapshot)])
            rows = list(self._rows(connection, name, version))
            self._must(
                "a release has its rows, numbered from 0",
                [] if [row[0] for row in rows] == list(range(n_items)) else [(label, n_items, len(rows))],
            )
            total = hashlib.sha256("".join(f"{row[1]}\n" for row in rows).encode()).hexdigest()
            self._must("a release's content is that of its rows", [] if total == content else [(label, content, total)])
            differ = [(label, position) for position, stored, now in rows if now is not None and now != stored]
            holes = [(label, position) for position, _, now in rows if now is None]
            if tombstones.every == tombstones.done:
                self._must("rows of a release are what they were", differ)
            self._must("holes are in redacted releases alone", holes if state != "redacted" else [])
            at = f"SELECT image_id FROM images AT (VERSION => {snapshot:d})"
            gone = connection.execute(
                f"SELECT image_id FROM release_items WHERE name = ? AND version = ? AND image_id IS NOT NULL AND image_id NOT IN ({at})",
                [name, version],
            ).fetchall()
            self._must("a release's snapshot has its pictures", gone)
        lost = [label for label, known in self.ledger.releases.items() if found.get(label) != known]
        self._must("a release stays what it was", lost)
        self.ledger.releases = found

    @staticmethod
    def _rows(connection: duckdb.DuckDBPyConnection, name: str, version: str) -> Iterator[tuple[int, str, str | None]]:
        """(position, its hash as stored, its hash as it is now or None of a hole), by docs/releases.md."""
        query = (
            "SELECT i.position, any_value(i.row_sha256), any_value(i.source), any_value(i.source_key), any_value(i.image_id), "
            "any_value(i.split), list([rc.role, c.text] ORDER BY rc.ordinal) FILTER (c.text IS NOT NULL) FROM release_items i "
            "LEFT JOIN release_captions rc USING (name, version, position) LEFT JOIN captions c USING (caption_id) "
            "WHERE i.name = ? AND i.version = ? GROUP BY i.position ORDER BY i.position"
        )
        for position, stored, *keys, texts in connection.execute(query, [name, version]).fetchall():
            now = None
            if keys[2] is not None:
                now = _sha(json.dumps([*keys, texts or []], ensure_ascii=False, separators=(",", ":")))
            yield position, stored, now

    def _nothing_under_way(self, tombstones: Tombstones) -> None:
        self._must("all takedowns are done", [] if tombstones.every == tombstones.done else ["one is unfinished"])
        staged = [str(path) for path in (self.lake / "staging").iterdir() if not self._is_spill(path)]
        self._must("staging is empty", staged)
        self._must("the spool is empty", [str(path) for path in (self.lake / "spool").glob("*.jsonl")])

    @staticmethod
    def _is_spill(path: Path) -> bool:
        """What a killed query laid on the disk has no lock, and stays for a day."""
        age = datetime.now(UTC).timestamp() - path.stat().st_mtime
        return path.name.startswith("duckdb-") and age < 86_400


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
