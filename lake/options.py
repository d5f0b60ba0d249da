"""What all commands share: ``--lake``, ``--json``, and how a result is printed. Imports nothing heavy."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from captionlake.errors import CaptionlakeError

F = TypeVar("F", bound=Callable[..., Any])


def lake_option(function: F) -> F:
    """``--lake DIR`` or ``CAPTIONLAKE_LAKE``, given to the command as ``lake: Path``."""
    return click.option(
        "--lake",
        envvar="CAPTIONLAKE_LAKE",
        callback=_lake_path,
        metavar="DIR",
        help="The lake's folder (or set CAPTIONLAKE_LAKE).",
    )(function)


def _lake_path(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Path:
    return lake_of(value)


def lake_of(named: str | None) -> Path:
    """The lake of a command that takes ``--lake`` in some of its uses alone: the one named, else CAPTIONLAKE_LAKE's."""
    value = named or os.environ.get("CAPTIONLAKE_LAKE")
    if not value:
        raise CaptionlakeError("no lake named: give --lake DIR, or set CAPTIONLAKE_LAKE")
    return Path(value)


def json_option(function: F) -> F:
    """``--json``, given to the command as ``as_json: bool``."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON object on stdout and nothing else there."
    )(function)


def engine_options(*names: str) -> Callable[[F], F]:
    """``--engine`` and ``--ray-address``, given to the command as ``engine: str`` and ``ray_address: str | None``."""

    def add(function: F) -> F:
        function = click.option(
            "--ray-address",
            metavar="HOST:PORT",
            help="Of the Ray cluster (default: RAY_ADDRESS, else this machine alone).",
        )(function)
        return click.option(
            "--engine",
            type=click.Choice(["local", "ray", *names]),
            default="local",
            show_default=True,
            help="Where the work is done: in this process, or on a cluster.",
        )(function)

    return add


def emit(as_json: bool, data: dict[str, Any], text: str) -> None:
    """Print a command's result: ``data`` as JSON, or ``text`` for people."""
    click.echo(json.dumps(data, ensure_ascii=False, default=str) if as_json else text)


def printable(text: object) -> str:
    """Hostile text made safe for a terminal: control characters and bidirectional overrides become escapes."""
    return "".join(
        character if character.isprintable() or character == " " else character.encode("unicode_escape").decode()
        for character in str(text)
    )


def table(headers: list[str], rows: list[list[object]]) -> str:
    """Rows as aligned plain text: numbers to the right, hostile characters escaped."""
    names = [printable(header) for header in headers]
    cells = [[_cell(cell) for cell in row] for row in rows]
    widths = [max([len(name), *(len(row[i]) for row in cells)]) for i, name in enumerate(names)]
    right = [bool(rows) and all(_is_number(row[i]) or row[i] is None for row in rows) for i in range(len(names))]

    def line(texts: list[str]) -> str:
        padded = [t.rjust(w) if r else t.ljust(w) for t, w, r in zip(texts, widths, right, strict=True)]
        return "  ".join(padded).rstrip()

    return "\n".join([line(names), "  ".join("-" * width for width in widths), *map(line, cells)])


def _is_number(cell: object) -> bool:
    return isinstance(cell, int | float) and not isinstance(cell, bool)


def _cell(cell: object) -> str:
    if cell is None:
        return ""
    return f"{cell:,}" if isinstance(cell, int) and not isinstance(cell, bool) else printable(cell)
