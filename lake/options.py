"""What all commands share: ``--lake``, ``--json``, and how a result is printed. Imports nothing heavy."""

import json
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
    if not value:
        raise CaptionlakeError("no lake named: give --lake DIR, or set CAPTIONLAKE_LAKE")
    return Path(value)


def json_option(function: F) -> F:
    """``--json``, given to the command as ``as_json: bool``."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON object on stdout and nothing else there."
    )(function)


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
    cells = [
        [f"{cell:,}" if isinstance(cell, int) else printable("" if cell is None else cell) for cell in row]
        for row in rows
    ]
    widths = [max([len(header), *(len(row[i]) for row in cells)]) for i, header in enumerate(headers)]
    right = [
        bool(rows) and all(isinstance(row[i], int | float) or row[i] is None for row in rows)
        for i in range(len(headers))
    ]
    lines = [
        "  ".join(
            header.rjust(w) if r else header.ljust(w) for header, w, r in zip(headers, widths, right, strict=True)
        )
    ]
    lines.append("  ".join("-" * w for w in widths))
    lines += [
        "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)) for row in cells
    ]
    return "\n".join(line.rstrip() for line in lines)
