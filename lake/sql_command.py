"""``captionlake sql``: read-only SQL over a lake, one of its releases or one of its snapshots."""

import sys
from pathlib import Path

import click

from captionlake.errors import CaptionlakeError
from captionlake.lake.options import json_option, lake_option

_FORMATS = ("table", "json", "csv", "parquet")


@click.command()
@click.argument("query")
@click.option(
    "--release", metavar="NAME@VERSION", help="Query a release: items, captions, exclusions; the rest at its snapshot."
)
@click.option("--at", type=int, metavar="SNAPSHOT", help="Query the tables as they were at a snapshot.")
@click.option("--format", "form", type=click.Choice(_FORMATS), help="Default: table, or what FILE's name ends in.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write to FILE.")
@click.option("--timeout", type=float, default=60.0, show_default=True, metavar="S", help="Seconds the query may take.")
@json_option
@lake_option
def sql(
    query: str,
    release: str | None,
    at: int | None,
    form: str | None,
    output: Path | None,
    timeout: float,
    as_json: bool,
    lake: Path,
) -> None:
    """Read-only SQL over the lake's tables: one SELECT, or DESCRIBE, SUMMARIZE, SHOW TABLES, EXPLAIN.

    The query can read the lake's tables and nothing else, within limits of time and memory. The table format shows the first 1,000 rows
    and cuts long values; the others hold everything. --json is --format json; with -o it prints what was written instead.
    """
    from captionlake.lake.query import QueryLimits, open_query
    from captionlake.lake.query_output import TABLE_ROWS, write_file, write_text

    form = _form(form, output, as_json)
    shown = TABLE_ROWS if form == "table" else None
    with open_query(lake, query, release=release, at=at, limits=QueryLimits(seconds=timeout), max_rows=shown) as result:
        if output is not None:
            rows = write_file(result.reader(), output, form)
            _written(output, form, rows, as_json)
        else:
            write_text(result.reader(), sys.stdout, form, terminal=sys.stdout.isatty())
            sys.stdout.flush()
        if result.more:
            click.echo(f"the first {TABLE_ROWS:,} rows: for all of them give --format csv, json or parquet", err=True)


def _form(form: str | None, output: Path | None, as_json: bool) -> str:
    if output is None:
        if form == "parquet":
            raise CaptionlakeError("parquet is not for a terminal: name its file with -o FILE")
        if as_json and form not in (None, "json"):
            raise CaptionlakeError(f"--json and --format {form} at once: give one of them, or a file with -o")
        return form or ("json" if as_json else "table")
    ending = output.suffix.removeprefix(".").lower()
    form = form or {"txt": "table"}.get(ending, ending)
    if form not in _FORMATS:
        raise CaptionlakeError(f"{output} does not say its format: give --format {', '.join(_FORMATS[1:])} or table")
    return form


def _written(output: Path, form: str, rows: int, as_json: bool) -> None:
    from captionlake.lake.options import emit

    text = f"{rows:,} {'row' if rows == 1 else 'rows'} in {output}"
    if as_json:
        emit(True, {"file": str(output), "format": form, "n_rows": rows}, text)
    else:
        click.echo(text, err=True)
