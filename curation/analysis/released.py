"""The captions of a release, as its snapshot has them, and named queries over them and what was counted of them."""

import decimal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import duckdb

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.catalog import quote
from captionlake.lake.options import printable
from captionlake.lake.releases.names import parse_release, release_row
from captionlake.lake.releases.views import create_release_views

_PRODUCERS = 'SELECT producer FROM captions WHERE "text" IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC, producer'


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A query and its answer. ``captionlake sql --release NAME@VERSION "…"`` gives the same. Values are JSON's."""

    name: str
    sql: str
    columns: list[str]
    rows: list[list[Any]]

    @property
    def records(self) -> list[dict[str, Any]]:
        """The rows as dictionaries."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def of(self, producer: str) -> list[dict[str, Any]]:
        """The rows of one producer."""
        return [record for record in self.records if record["producer"] == producer]


@dataclass(frozen=True, kw_only=True, slots=True)
class Released:
    """A connection on which the names of tables mean the release's. ``producers``: whose captions are asked for."""

    connection: duckdb.DuckDBPyConnection
    label: str
    producers: list[str]

    def sql(self, name: str, parser: str) -> str:
        """The text of a query, whole: the producers and the parser stand in it."""
        text = files("captionlake.curation.analysis").joinpath(f"sql/{name}.sql").read_text(encoding="utf-8").strip()
        producers = ", ".join(map(quote, self.producers))
        return text.replace("$parser", quote(parser)).replace("$producers", producers)

    def answer(self, name: str, parser: str) -> Answer:
        """Ask a query."""
        text = self.sql(name, parser)
        cursor = self.connection.execute(text)
        columns = [column[0] for column in cursor.description or []]
        rows = [[_json(value) for value in row] for row in cursor.fetchall()]
        return Answer(name=name, sql=text, columns=columns, rows=rows)


@contextmanager
def open_released(lake: Lake, label: str, producers: tuple[str, ...] = ()) -> Iterator[Released]:
    """The captions of release ``label`` (NAME@VERSION) by the producers named, else by all. Raises where there are none."""
    name, version = parse_release(label)
    release_row(lake.connection, name, version, "kind")
    with lake.connection.cursor() as connection:  # of its own: the views hide the lake's tables
        connection.execute("USE lake")
        create_release_views(connection, name, version)
        known = [producer for (producer,) in connection.execute(_PRODUCERS).fetchall()]
        if not known:
            raise CaptionlakeError(f"{label} has no captions: make a release with captions, by a recipe with [caption]")
        for producer in producers:
            if producer not in known:
                told = ", ".join(printable(one) for one in known)
                raise CaptionlakeError(f"{label} has no captions by {printable(producer)}: its producers are {told}")
        yield Released(connection=connection, label=f"{name}@{version}", producers=list(producers) or known)


def _json(value: Any) -> Any:
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value
