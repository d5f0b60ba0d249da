"""What WikiArt's tables say of each picture: class files in pairs, or one table with a header."""

import re
from collections.abc import Iterable
from pathlib import Path

from captionlake.errors import CaptionlakeError
from captionlake.lake.sources.picture_files import is_picture
from captionlake.lake.sources.rows import read_rows
from captionlake.lake.sources.source import clean
from captionlake.lake.sources.tables import lines, wrong_file

_CLASSED = re.compile(r"^(artist|genre|style)(?:_(?:train|val|test|all))?\.csv$", re.IGNORECASE)
_NAMED = re.compile(r"^(artist|genre|style)_class(?:es)?\.txt$", re.IGNORECASE)
_NAMES = ("filename", "file_name", "path", "file", "image")


def described(tables: Iterable[Path]) -> dict[str, dict[str, str]]:
    """Facts by the picture's path; the key ``""`` of each holds the file and line that named it."""
    paths = list(tables)
    for path in paths:
        if not path.is_file():
            raise CaptionlakeError(f"no such file or folder: {path}: check the path")
    classes = {found[1].lower(): _classes(path) for path in paths if (found := _NAMED.match(path.name))}
    told: dict[str, dict[str, str]] = {}
    for path in paths:
        if _NAMED.match(path.name):
            continue
        found = _CLASSED.match(path.name)
        if found and not _has_header(path):
            _add_classed(path, found[1].lower(), classes.get(found[1].lower(), {}), told)
        else:
            _add_table(path, told)
    return told


def _classes(path: Path) -> dict[str, str]:
    """``number name`` lines."""
    named = {}
    for frame in lines(path):
        for text in frame["text"].to_list():
            number, _, name = text.strip().partition(" ")
            if name and number.isdigit():
                named[number] = name.strip()
    if not named:
        raise wrong_file(path, "no line is a class's number and name")
    return named


def _has_header(path: Path) -> bool:
    first = next(lines(path), None)
    if first is None:
        raise CaptionlakeError(f"{path} is empty: it needs lines of Style/file.jpg,class")
    cells = [cell.strip().strip('"').lower() for cell in first["text"][0].split(",")]
    return not set(cells).isdisjoint(_NAMES)


def _add_classed(path: Path, what: str, classes: dict[str, str], told: dict[str, dict[str, str]]) -> None:
    """``Style/file.jpg,class`` lines. File names may hold commas, so the last one separates."""
    usable = False
    for frame in lines(path):
        for line, text in zip(frame["line"].to_list(), frame["text"].to_list(), strict=True):
            name, comma, number = text.rpartition(",")
            key, label = clean(name.strip().strip('"')), clean(number)
            if not comma or key is None or label is None or not is_picture(key):
                if text.strip():
                    told[f"{path.name}:{line}"] = {"": f"{path.name} line {line}: not `Style/file.jpg,class`"}
                continue
            usable = True
            told.setdefault(key, {"": f"{path.name} line {line}"})[what] = classes.get(label, label)
    if not usable:
        raise wrong_file(path, "no line is `Style/file.jpg,class`")


def _add_table(path: Path, told: dict[str, dict[str, str]]) -> None:
    for line, row in read_rows(path, required=_NAMES):
        lower = {
            str(key).lower(): text for key, value in row.items() if (text := clean(value)) and text.lower() != "nan"
        }
        column = next((each for each in _NAMES if each in lower), None)
        if column is None:
            told[f"{path.name}:{line}"] = {"": f"{path.name} line {line}: no file name"}
            continue
        name = lower.pop(column)
        facts = told.setdefault(name, {"": f"{path.name} line {line}"})
        facts.update({key: value for key, value in lower.items() if key})
