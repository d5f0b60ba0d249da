"""A file of prompts, read and checked: every problem of it is told at once."""

import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from captionlake.errors import CaptionlakeError
from captionlake.models.prompts.values import VARIABLES, is_variable

_TEXTS = ("id", "version", "base_begin", "base_end", "unified")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
VARIABLE = re.compile(r"\{([^{}]*)\}")


class PromptError(CaptionlakeError):
    """All that is wrong with one file of prompts; ``lines`` has each problem with the file before it."""

    def __init__(self, path: str, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        self.lines = [f"{path}: {problem}" for problem in self.problems]
        count = f"{len(self.problems)} problems: " if len(self.problems) > 1 else ""
        super().__init__(f"{path}: {count}{'; '.join(self.problems)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What is asked of some collections. Without ``collections`` it is for every row that no other part is for."""

    name: str
    text: str
    collections: tuple[str, ...] = ()
    subsets: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptFile:
    """The contents of a file that has no problem."""

    id: str
    version: str
    base_begin: str
    base_end: str
    unified: str
    parts: tuple[Part, ...]


def built_in() -> list[str]:
    """Names of the files that come with captionlake."""
    folder = files("captionlake.models.prompts")
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def read_prompts(name: str | Path) -> PromptFile:
    """The file of a built-in name, or at a path (with ``.toml`` or a folder in it)."""
    label = str(name)
    if label in built_in():
        text = files("captionlake.models.prompts").joinpath(f"{label}.toml").read_text(encoding="utf-8")
    elif label.endswith(".toml") or "/" in label:
        try:
            text = Path(label).expanduser().read_text(encoding="utf-8")
        except OSError as error:
            raise CaptionlakeError(f"no prompts can be read from {label} ({error.strerror}): check the path") from error
        except UnicodeDecodeError as error:
            raise PromptError(label, [f"not UTF-8 at byte {error.start}: save it as UTF-8"]) from error
    else:
        raise CaptionlakeError(
            f"no prompts are named {label!r}: take {', '.join(built_in())}, or the path of a .toml file (docs/captions.md)"
        )
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PromptError(label, [f"no TOML: {error}"]) from error
    problems = list(_problems(table))
    if problems:
        raise PromptError(label, problems)
    parts = tuple(
        Part(
            name=part["name"],
            text=part["text"].strip(),
            collections=tuple(part.get("collections", ())),
            subsets=tuple(part.get("subsets", ())),
        )
        for part in table["part"]
    )
    return PromptFile(**{key: table[key].strip() for key in _TEXTS}, parts=parts)


def _problems(table: Mapping[str, Any]) -> Iterable[str]:
    for key in table.keys() - {*_TEXTS, "part"}:
        yield f"unknown key `{key}`: take one of {', '.join([*_TEXTS, 'part'])}"
    for key in _TEXTS:
        if key not in table:
            yield f"missing key `{key}`"
        elif not isinstance(table[key], str) or not table[key].strip():
            yield f"`{key}` is no text: write one"
        elif key.startswith(("base", "unified")):
            yield from _variable_problems(f"`{key}`", table[key], allowed=key != "unified")
    if isinstance(table.get("id"), str) and not _ID.fullmatch(table["id"].strip()):
        yield "`id` holds more than letters, digits, points, hyphens and underscores: choose a plain name"
    parts = table.get("part")
    if not isinstance(parts, list) or not parts or not all(isinstance(part, dict) for part in parts):
        yield "no [[part]]: add one, without `collections` it is for all"
        return
    for number, part in enumerate(parts, 1):
        yield from _part_problems(number, part)
    yield from _clashes([part for part in parts if isinstance(part, dict)])


def _part_problems(number: int, part: Mapping[str, Any]) -> Iterable[str]:
    named = part.get("name")
    here = f"part {named}" if isinstance(named, str) and named else f"part number {number}"
    for key in part.keys() - {"name", "text", "collections", "subsets"}:
        yield f"{here}: unknown key `{key}`: take one of name, collections, subsets, text"
    if not isinstance(named, str) or not _ID.fullmatch(named):
        yield f"{here}: `name` is missing or no plain name"
    if not isinstance(part.get("text"), str) or not part["text"].strip():
        yield f"{here}: `text` is missing or empty"
    else:
        yield from _variable_problems(here, part["text"])
    for key in ("collections", "subsets"):
        if not _is_names(part.get(key, [])):
            yield f"{here}: `{key}` is no list of names"
    if part.get("subsets") and not part.get("collections"):
        yield f"{here}: `subsets` without `collections`: say of which collection they are"


def _variable_problems(here: str, text: str, *, allowed: bool = True) -> Iterable[str]:
    for name in dict.fromkeys(VARIABLE.findall(text)):
        if not allowed:
            yield f"{here}: {{{name}}}: it takes no variables"
        elif not is_variable(name):
            yield f"{here}: unknown variable {{{name}}}: take one of {', '.join(VARIABLES)}, or meta.COLUMN"
    if set("{}") & set(VARIABLE.sub("", text)):
        yield f"{here}: a brace without its partner: variables are written {{title}}"


def _clashes(parts: list[dict[str, Any]]) -> Iterable[str]:
    names = Counter(part["name"] for part in parts if isinstance(part.get("name"), str))
    yield from (f"two parts are named {name}: rename one" for name, count in names.items() if count > 1)
    places: Counter[str] = Counter()
    for part in parts:
        if not _is_names(part.get("collections", [])) or not _is_names(part.get("subsets", [])):
            continue
        for collection in dict.fromkeys(part.get("collections", [])) or ["every other collection"]:
            for subset in dict.fromkeys(part.get("subsets", [])) or [""]:
                places[f"{collection} (subset {subset})" if subset else collection] += 1
    yield from (f"two parts are for {place}: leave it out of one" for place, count in places.items() if count > 1)


def _is_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) and each for each in value)
