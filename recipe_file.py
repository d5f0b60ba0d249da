"""The file of a recipe of any kind: read, parsed, and what is checked of all of them."""

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from captionlake.errors import CaptionlakeError
from captionlake.lake.options import printable
from captionlake.recipe_check import Check
from captionlake.recipe_lines import Step

_MAX_BYTES = 2**18
_MAX_DOTS = 200  # in a row: tomllib needs the square of a dotted key's parts in memory
_NUMBERS = range(-(2**63), 2**63)  # what TOML promises to hold
DEEPEST = 16  # no key of a recipe lies deeper


class RecipeError(CaptionlakeError):
    """All that is wrong with one recipe.

    ``problems``: one line each, in the order of the recipe's lines. ``lines``: the same, the recipe's path before each.
    """

    def __init__(self, path: Path, problems: Iterable[str]) -> None:
        self.path = path
        self.problems = [printable(problem) for problem in problems]
        self.lines = [f"{printable(path)}: {problem}" for problem in self.problems]
        count = f"{len(self.problems)} problems: " if len(self.problems) > 1 else ""
        super().__init__(f"{printable(path)}: {count}{'; '.join(self.problems)}")


def read(path: Path) -> str:
    """The text of a recipe's file. Raises ``RecipeError`` where it is none."""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise RecipeError(path, ["over 256 KiB: too large for a recipe, put long lists into files of their own"])
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise RecipeError(path, [f"line {line}: not UTF-8: save the file as UTF-8"]) from error
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise RecipeError(path, [f"cannot be read ({why}): give the path of a recipe, a .toml file"]) from error
    if not text.removeprefix("\ufeff").strip():
        raise RecipeError(path, ['empty: start with  lake = "lake"  and add the steps to run'])
    return text


def parse(path: Path, text: str) -> dict[str, Any]:
    """The data of a recipe. Raises ``RecipeError`` with the line where it is no TOML."""
    for number, row in enumerate(text.split("\n"), 1):
        if max(part.count(".") for part in re.split(r"[][{},=#]", row)) > _MAX_DOTS:
            raise RecipeError(path, [f"line {number}: a key of over {_MAX_DOTS} parts: a recipe needs three"])
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.fullmatch(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", str(error), re.DOTALL)
        what, line = (found[1], found[2]) if found else (str(error), None)
        what = {"Cannot overwrite a value": "this key stands twice"}.get(what, what[:1].lower() + what[1:])
        raise RecipeError(path, [f"line {line or text.rstrip().count(chr(10)) + 1}: not TOML: {what}"]) from error
    except ValueError as error:  # Python refuses to convert thousands of digits
        digits = re.search(r"[0-9_]{4300,}", text)
        line = text.count("\n", 0, digits.start()) + 1 if digits else 1
        raise RecipeError(path, [f"line {line}: a number beyond 64 bits: write a smaller one"]) from error
    except RecursionError as error:
        raise RecipeError(path, ["tables or lists lie too deep in one another: a recipe needs three levels"]) from error


def check_numbers(check: Check) -> None:
    """Whole numbers beyond 64 bits: neither the database nor an error message could take them."""
    pending: list[tuple[tuple[Step, ...], Any]] = [((), check.data)]
    while pending:
        path, value = pending.pop()
        if isinstance(value, int) and value not in _NUMBERS:
            check.add(path, "a number beyond 64 bits: write a smaller one")
        if len(path) < DEEPEST:
            items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
            pending += [((*path, step), below) for step, below in items]


def check_lake(check: Check, folder: Path) -> None:
    """The folder of the lake, relative to that of the recipe."""
    name = check.data.get("lake")
    if name is None:
        check.missing((), "lake", note=': start the recipe with  lake = "lake"  (the folder of the lake)')
    elif name == "" or (isinstance(name, str) and "\0" in name):
        check.add(("lake",), "`lake`: should be the path of a folder")
    elif isinstance(name, str) and exists(lake := absolute(folder, name)) and not lake.is_dir():
        check.add(("lake",), f"`lake`: {lake} is a file, name a folder")


def absolute(folder: Path, name: str) -> Path:
    """The path that a recipe in ``folder`` names."""
    try:
        return (folder.absolute() / Path(name).expanduser()).resolve()
    except (OSError, ValueError, RuntimeError):  # a NUL, a loop of links, a ~ without a home: no such file
        return folder.absolute() / name


def exists(path: Path) -> bool:
    """Whether there is such a file; no name is an error."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False
