"""Facts: named queries over a release, with their answers, so that anyone can ask again and get the same.

A fact of scope ``release`` is run as ``captionlake sql --release NAME@VERSION "…"``, one of scope ``lake`` (what the lake says of
the release itself, which its snapshot cannot know) as ``captionlake sql "…"``. Every query passes the gate of read-only SQL.
"""

import datetime
import decimal
import json
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import duckdb

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.catalog import first_line, quote
from captionlake.lake.releases.release import Release, find_release

FACTS_FILE = "facts.json"
FORMAT = 1
_RELEASE_COLUMNS = (
    "name, version, kind, state, n_items, snapshot_id, parent, content_sha256, recipe_sha256, "
    "strftime(created_at AT TIME ZONE 'UTC', '%Y-%m-%d') AS created_on"
)

Scope = Literal["release", "lake"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact:
    """A query and its answer. Values are JSON's: numbers, texts, booleans, null."""

    name: str
    scope: Scope
    sql: str
    columns: list[str]
    rows: list[list[Any]]

    @property
    def records(self) -> list[dict[str, Any]]:
        """The rows as dictionaries."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    @property
    def only(self) -> dict[str, Any]:
        """The row of a fact that has exactly one."""
        (row,) = self.records
        return row


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """A Parquet file of an export; ``path`` is relative to the export's folder, ``arrow_bytes`` its rows' size uncompressed."""

    path: str
    split: str
    sha256: str
    n_bytes: int
    rows: int
    arrow_bytes: int


@dataclass(frozen=True, slots=True)
class Facts:
    """All facts of one release, by name; ``files`` of its export and ``repo`` on the Hub, where the card was told of them."""

    name: str
    version: str
    facts: dict[str, Fact]
    files: tuple[File, ...] = field(default=(), kw_only=True)
    repo: str | None = field(default=None, kw_only=True)

    def __getitem__(self, name: str) -> Fact:
        return self.facts[name]

    def __len__(self) -> int:
        return len(self.facts)

    @property
    def conversational(self) -> bool:
        """Whether the rows are conversations, not pictures."""
        return bool(self["release"].only["kind"] != "images")

    @property
    def label(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.version}"

    def to_json(self) -> str:
        """The text of facts.json: the same for the same facts."""
        facts = [asdict(fact) for fact in self.facts.values()]
        head: dict[str, Any] = {"format": FORMAT, "release": self.label}
        if self.repo:
            head["repo"] = self.repo
        if self.files:
            head["files"] = [asdict(file) for file in self.files]
        return json.dumps(head | {"facts": facts}, ensure_ascii=False, indent=1) + "\n"


@dataclass(frozen=True, slots=True)
class Difference:
    """A fact whose answer is no longer the one that was written down."""

    name: str
    what: str


def queries(release: Release) -> list[tuple[str, Scope, str]]:
    """(name, scope, SQL) of every fact of a card, in the order in which they are written."""
    where = f"FROM releases WHERE name = {quote(release.name)} AND version = {quote(release.version)}"
    found: list[tuple[str, Scope, str]] = [
        ("release", "lake", f"SELECT {_RELEASE_COLUMNS} {where}"),
        ("recipe", "lake", f"SELECT recipe {where}"),
    ]
    given = {"name": release.name, "version": release.version, "parent": release.parent or ""}
    for name, text in _texts("lake"):
        found.append((name, "lake", re.sub(r"\$(name|version|parent)\b", lambda mark: quote(given[mark[1]]), text)))
    kind = "images" if release.kind == "images" else "conversations"
    found += sorted((name, "release", text) for folder in ("both", kind) for name, text in _texts(folder))
    return found


def _texts(folder: str) -> list[tuple[str, str]]:
    """Names and texts of a folder's queries."""
    entries = sorted(files("captionlake.cards").joinpath("sql", folder).iterdir(), key=lambda entry: entry.name)
    return [
        (entry.name.removesuffix(".sql"), entry.read_text(encoding="utf-8").strip())
        for entry in entries
        if entry.name.endswith(".sql")
    ]


def collect(lake: Lake, label: str, *, told: Callable[[str, float], None] | None = None) -> Facts:
    """Ask every fact of the release ``label`` (NAME@VERSION); ``told`` gets each one's name and its seconds. Raises where there is none."""
    release = find_release(lake, label)
    return _ask(lake, release, queries(release), told=told)


def read_facts(folder: Path) -> Facts:
    """The facts that were written into a card's folder."""
    path = folder / FACTS_FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] > FORMAT:
            raise CaptionlakeError(f"{path} is of a newer captionlake: run  pip install --upgrade captionlake")
        name, _, version = data["release"].partition("@")
        facts = {fact["name"]: Fact(**fact) for fact in data["facts"]}
        listed = tuple(File(**file) for file in data.get("files", ()))
        repo = data.get("repo")
    except OSError as error:
        raise CaptionlakeError(
            f"{path} cannot be read ({error.strerror}): write the card first, without --check"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise CaptionlakeError(f"{path} does not hold a card's facts: write the card again, without --check") from error
    return Facts(name, version, facts, files=listed, repo=repo)


def check(lake: Lake, label: str, folder: Path) -> tuple[Facts, list[Difference]]:
    """Ask every query written in ``folder`` again; returns the answers, and every difference from what is written.

    A fact that this version knows and the file lacks counts as different.
    """
    written = read_facts(folder)
    if written.label != label:
        raise CaptionlakeError(f"{folder} holds the card of {written.label}, not of {label}: name that, or its folder")
    release = find_release(lake, label)
    known = queries(release)
    asked = _ask(
        lake, release, [query for query in known if query[0] in written.facts and query[2] == written[query[0]].sql]
    )
    for name, fact in written.facts.items():
        if name not in asked.facts:
            asked.facts[name] = _run_foreign(lake, release, fact)
    differences = [
        Difference(name, _difference(old, asked[name]))
        for name, old in written.facts.items()
        if (old.columns, old.rows) != (asked[name].columns, asked[name].rows)
    ]
    missing = [name for name, _, _ in known if name not in written.facts]
    differences += [Difference(name, "is not in the file") for name in missing]
    return replace(asked, files=written.files, repo=written.repo), differences


def _difference(old: Fact, new: Fact) -> str:
    if old.columns != new.columns:
        return f"has columns {', '.join(new.columns)}, written are {', '.join(old.columns)}"
    for number, (before, now) in enumerate(zip(old.rows, new.rows, strict=False), start=1):
        for column, one, other in zip(old.columns, before, now, strict=False):
            if one != other:
                return f"row {number}, {column} is {_shown(other)}, written is {_shown(one)}"
    return f"has {len(new.rows)} rows, written are {len(old.rows)}"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _ask(
    lake: Lake,
    release: Release,
    asked: list[tuple[str, Scope, str]],
    *,
    told: Callable[[str, float], None] | None = None,
) -> Facts:
    facts: dict[str, Fact] = {}
    # A connection of its own: there the views of the release hide the lake's tables. One transaction: all answers are of one moment.
    with lake.connection.cursor() as pinned:
        pinned.execute("USE lake")
        _begin(lake, pinned, release)
        for name, scope, sql in asked:
            started = time.perf_counter()
            facts[name] = _run(lake.connection if scope == "lake" else pinned, name, scope, sql)
            if told is not None:
                told(name, time.perf_counter() - started)
        pinned.execute("ROLLBACK")
    return Facts(release.name, release.version, facts)


def _begin(lake: Lake, connection: duckdb.DuckDBPyConnection, release: Release) -> None:
    """A transaction, in which the release's rows are tables: as views they would be joined again by every query.

    They are made before it, since tables of an open transaction are read by one thread, and again if the lake was changed meanwhile.
    """
    from captionlake.lake.releases.views import create_release_views

    kept = ("items", "captions", "conversations")
    while True:
        moment = lake.snapshot()
        views = create_release_views(connection, release.name, release.version)
        for view in (view for view in kept if view in views):
            connection.execute(f'CREATE TEMP TABLE "_{view}" AS SELECT * FROM {view}')
            connection.execute(f'DROP VIEW temp.main."{view}"')
            connection.execute(f'ALTER TABLE temp.main."_{view}" RENAME TO "{view}"')
        connection.execute("BEGIN")
        if lake.snapshot() == moment:
            return
        connection.execute("ROLLBACK")
        for view in (view for view in kept if view in views):
            connection.execute(f'DROP TABLE temp.main."{view}"')


def _run(connection: duckdb.DuckDBPyConnection, name: str, scope: Scope, sql: str) -> Fact:
    try:
        cursor = connection.execute(sql)
        columns = [column[0] for column in cursor.description or []]
        rows = [[_json(value) for value in row] for row in cursor.fetchall()]
    except duckdb.Error as error:
        raise CaptionlakeError(
            f"the query of fact {name} failed ({first_line(error)}): look at it in cards/sql, or in {FACTS_FILE}"
        ) from error
    return Fact(name=name, scope=scope, sql=sql, columns=columns, rows=rows)


def _run_foreign(lake: Lake, release: Release, fact: Fact) -> Fact:
    """A query that the file brings and this version does not know: in a process of its own, with limits of time and memory."""
    from captionlake.lake.query import run_query

    if fact.scope not in ("release", "lake"):
        raise CaptionlakeError(f"fact {fact.name} has scope {fact.scope!r}: write the card again, without --check")
    found = run_query(lake.path, fact.sql, release=release.label if fact.scope == "release" else None)
    rows = [[_json(value) for value in row.values()] for row in found.to_pylist()]
    return Fact(name=fact.name, scope=fact.scope, sql=fact.sql, columns=found.column_names, rows=rows)


def _json(value: Any) -> Any:
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime.date | datetime.datetime):
        return value.isoformat()
    return value
