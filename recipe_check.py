"""Every problem of a recipe, each with its line: unknown keys with the nearest known one, and values of the wrong kind.

A misspelled key is reported and then read as the key it is nearest to, so that one mistake makes one problem and what
lies below the key is checked too.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import is_dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from captionlake.errors import CaptionlakeError
from captionlake.recipe_lines import Place, Step

_SURE, _LIKELY = 0.75, 0.5  # difflib's ratio of a key that is meant, and of one that is worth a guess
_GUESSES = 8  # names among which the nearest is found
_MOST = 100  # problems that are told
_LONGEST = 600  # characters of a problem that are kept: names in it can be of any length
_SHOULD_BE = {
    "string_type": "text in quotes",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list in [ ]",
    "tuple_type": "a list in [ ]",
    "dict_type": "a table",
    "dataclass_type": "a table",
}


class Check:
    """A recipe's data under examination. ``tables`` gives the type of each key at the top of the file."""

    def __init__(self, data: dict[str, Any], places: Place, tables: Mapping[str, Any]) -> None:
        self.data = data
        self._places = places
        self._tables = tables
        self._homes = _homes(tables)
        self._found: dict[tuple[int, str], None] = {}  # in the order found, each once

    def add(self, path: tuple[Step, ...], problem: str) -> None:
        """Note a problem at the line of ``path``, or of the innermost thing around it."""
        problem = problem if len(problem) <= _LONGEST else f"{problem[:_LONGEST]}…"
        self._found[self._places.at(path).line, problem] = None

    def problems(self) -> list[str]:
        """What was found, in the order of the lines; of very many the first."""
        found = [f"line {line}: {text}" for line, text in sorted(self._found, key=lambda found: found[0])]
        more = len(found) - _MOST
        return [*found[:_MOST], f"and {more:,} more problems"] if more > 0 else found

    def keys(self) -> None:
        """Report unknown keys and wrong brackets, and mend them in ``data`` for the checks to come."""
        self._keys(self.data, (), self._tables)

    def values(self) -> dict[str, Any]:
        """Report values of the wrong kind. Returns what the tables that are right mean."""
        return {name: self._value(name, hint) for name, hint in self._tables.items() if name in self.data}

    def missing(self, path: tuple[Step, ...], key: str, note: str = "") -> None:
        """Report a key that the table at ``path`` needs, at the table's header."""
        self.add(path, f"missing key `{key}`{_where(path)}{note}")

    def _keys(self, table: dict[str, Any], path: tuple[Step, ...], known: Mapping[str, Any]) -> None:
        for key in [key for key in table if key not in known]:
            near, home = nearest(key, known, _SURE), self._homes.get(key)
            if near is None and home is None:
                near = nearest(key, known, _LIKELY)
            value = table.pop(key)
            what = f"table [{key}]" if not path and isinstance(value, dict | list) else f"key `{key}`{_where(path)}"
            self.add((*path, key), f"unknown {what}{_hint(known, near=near, home=home)}")
            if near is not None and near not in table:
                table[near] = value
                self._places.at(path).rename(key, near)
            elif near is None and home == () and key not in self.data:
                self.data[key] = value
        for key, hint in known.items():
            cls, many = _table_class(hint)
            if cls is None or key not in table:
                continue
            below = (*path, key)
            self._brackets(table, key, below, many)
            value = table[key]
            elements = [((*below, n), e) for n, e in enumerate(value)] if isinstance(value, list) else [(below, value)]
            for at, element in elements:
                if isinstance(element, dict):
                    self._keys(element, at, _hints(cls))

    def _brackets(self, table: dict[str, Any], key: str, path: tuple[Step, ...], many: bool) -> None:
        name = ".".join(step for step in path if isinstance(step, str))
        value = table[key]
        if many and isinstance(value, dict):
            self.add(path, f"[{name}] should be [[{name}]], with two brackets: there can be several")
            table[key] = [value]
            self._places.at(path).wrap()
        elif not many and isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            self.add(path, f"[[{name}]] should be [{name}], with one bracket: there is one")
            table[key] = value[0]
            self._places.at(path).unwrap()

    def _value(self, name: str, hint: Any) -> Any:
        try:
            return TypeAdapter(hint).validate_python(self.data[name])
        except CaptionlakeError as error:
            self.add((name,), f"[{name}]: {error}")
        except ValidationError as error:
            said: dict[tuple[Step, ...], list[str]] = {}
            for detail in error.errors(include_url=False, include_input=False):
                path = (name, *detail["loc"])
                if detail["type"] == "missing":
                    self.missing(path[:-1], str(path[-1]))
                else:
                    said.setdefault(self._known_path(path), []).append(_said(detail["type"], detail["msg"]))
            for path, reasons in said.items():
                self._wrong(path, list(dict.fromkeys(reasons)))
        return None

    def _wrong(self, path: tuple[Step, ...], reasons: list[str]) -> None:
        value = _get(self.data, path)
        should = [reason.removeprefix("should ") for reason in reasons]
        text = reasons[0]
        if should != reasons:
            text = "should " + " or ".join(part.removeprefix("be ") if n else part for n, part in enumerate(should))
            text += _shown(value)
        if isinstance(value, dict) and should == reasons:
            self.add(path, f"{table_label(path)}: {text}")
            return
        key = max(index for index, step in enumerate(path) if isinstance(step, str))
        item = f" item {int(path[-1]) + 1}" if key < len(path) - 1 else ""
        self.add(path, f"`{path[key]}`{item}{_where(path[:key])}: {text}")

    def _known_path(self, path: tuple[Step, ...]) -> tuple[Step, ...]:
        """``path`` up to where the data has it: what follows there names alternatives of a type."""
        for length in range(len(path), 0, -1):
            if _get(self.data, path[:length], absent := object()) is not absent:
                return path[:length]
        return ()


def nearest(name: str, known: Iterable[str], cutoff: float = _LIKELY) -> str | None:
    """The known name most like ``name``, whatever its capitals, hyphens and underscores: that of the fewest edits.

    An edit adds, drops or changes a letter, or swaps two: difflib's ratio, which says what is a guess at all, counts a change twice.
    """
    from rapidfuzz.distance import OSA

    plain = {_plain(candidate): candidate for candidate in known}
    found = get_close_matches(_plain(name), plain, n=_GUESSES, cutoff=cutoff)
    best = min(found, key=lambda one: OSA.distance(_plain(name), one), default=None)  # min keeps the first of equals
    return None if best is None else plain[best]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a sentence on an unknown name."""
    known = sorted(known)
    near = nearest(name, known)
    return f", did you mean `{near}`?" if near else f" (known: {', '.join(known)})"


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")


def _hint(known: Iterable[str], *, near: str | None, home: tuple[str, ...] | None) -> str:
    if near is not None:
        return f", did you mean `{near}`?"
    if home is not None:
        return ": it belongs " + (f"in [{'.'.join(home)}]" if home else "at the top, before the first table")
    return f" (known: {', '.join(known)})"


def _homes(tables: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The table in which each key is known, the outermost where there are several; () is the top of the file."""
    homes: dict[str, tuple[str, ...]] = {}
    pending: list[tuple[tuple[str, ...], Mapping[str, Any]]] = [((), tables)]
    seen: set[type] = set()  # a table can lie in one of its own kind
    while pending:
        path, known = pending.pop(0)
        for name, hint in known.items():
            cls, _ = _table_class(hint)
            if cls is None or path:
                homes.setdefault(name, path)
            if cls is not None and cls not in seen:
                seen.add(cls)
                pending.append(((*path, name), _hints(cls)))
    return homes


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _table_class(hint: Any) -> tuple[Any, bool]:
    """The dataclass that a key's type asks for, or None; and whether it asks for a list of them."""
    parts = list(_type_parts(hint))
    cls = next((part for part in parts if is_dataclass(part)), None)
    return cls, any(get_origin(part) in (list, tuple) for part in parts)


def _type_parts(hint: Any) -> Iterator[Any]:
    yield hint
    for part in get_args(hint):
        yield from _type_parts(part)


def _get(data: Any, path: Iterable[Step], default: Any = None) -> Any:
    for step in path:
        inside = step in data if isinstance(data, dict) else isinstance(data, list) and step in range(len(data))
        if not inside:
            return default
        data = data[step]
    return data


def _said(kind: str, message: str) -> str:
    """pydantic's message in the words of a recipe; what starts with "should " can be joined by "or"."""
    if kind in _SHOULD_BE:
        return f"should be {_SHOULD_BE[kind]}"
    message = message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    for start in ("Input should ", "String should ", "List should ", "Tuple should ", "Dictionary should "):
        if message.startswith(start):
            return f"should {message.removeprefix(start)}"
    return message


def _where(path: tuple[Step, ...]) -> str:
    return f" in {table_label(path)}" if path else ""


def table_label(path: tuple[Step, ...]) -> str:
    """``[select]``, or ``[[select.quota]]`` where it is one of several."""
    name = ".".join(step for step in path if isinstance(step, str))
    return f"[[{name}]]" if path and isinstance(path[-1], int) else f"[{name}]"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return f", not {str(value).lower()}"
    if isinstance(value, str):
        return f', not "{value[:40]}{"…" if len(value) > 40 else ""}"'
    return f", not {value}" if isinstance(value, int | float) else ""
