"""JSON annotation files of any size, item by item.

The formats are one top-level array, or an object that holds lists (COCO's ``images``, TextCaps' ``data``). Items are decoded from a
window of text, so memory holds the window and its items. (A streaming parser such as ijson keeps the path of every level of
nesting, which a file of 100,000 opening brackets turns into gigabytes.)

Two decoders share the work. Pydantic's takes many items at once and is strict; what it refuses the standard library's decoder
reads item by item, knows the line and column of an error, and stops at about a thousand levels. What both take they read alike.
"""

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from pydantic_core import from_json

from captionlake.errors import CaptionlakeError
from captionlake.lake.sources.looks_like import looks_like
from captionlake.lake.sources.source import clean

__all__ = ["POLYGONS", "json_batches", "json_items", "looks_like", "refused", "text_of"]

# What can be left out unread: COCO's polygons are nine tenths of instances_*.json. A quote within a JSON string is escaped, so
# this never matches text.
POLYGONS = re.compile(r'"segmentation"\s*:\s*\[(?:\s*\[[\d\s.,eE+-]*\]\s*,?)*\s*\](?=\s*[,}])')

_READ_BYTES = 2**20
_BATCH = 2**15  # characters of items that are decoded at once; more falls out of the processor's cache
_MAX_ITEM = 64 * 2**20  # characters; the largest real item, a picture's masks, has some hundred thousand
_SPACE = re.compile(r"[ \t\n\r]*")
_COMMA = re.compile(r"[ \t\n\r]*,[ \t\n\r]*")
# How an item begins, as far as the items of one list begin alike: an object with its first key, or a string.
_BEGINNING = re.compile(r'\{[ \t\n\r]*"[^"\\]{0,100}"|"')
# Control characters within strings are let through, and NaN and the infinities, which Python writes, become null.
_DECODER = json.JSONDecoder(strict=False, parse_constant=lambda _: None)


def json_items(path: Path, *lists: str, drop: re.Pattern[str] | None = None) -> Iterator[tuple[str, Any]]:
    """(name of the list, item) for each item of the top-level lists named; see ``json_batches``."""
    for name, items in json_batches(path, *lists, drop=drop):
        for item in items:
            yield name, item


def json_batches(path: Path, *lists: str, drop: re.Pattern[str] | None = None) -> Iterator[tuple[str, list[Any]]]:
    """(name of the list, some of its items, in order) of the top-level lists named; ``""`` names a top-level array.

    Other parts of the file are read over. ``drop`` is cut out before parsing; it must match within one innermost object.
    Raises, with line and column, where the file is cut off, not JSON, not UTF-8 or empty; rows before that have been yielded, so
    what is done with them must wait for the end.
    """
    try:
        with path.open("rb") as file:
            yield from _lists(_Window(path, file, drop), lists)
    except CaptionlakeError:
        if drop is not None:  # again without, because what is cut out shifts the places
            for _ in json_batches(path, *lists):
                pass
        raise
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise CaptionlakeError(f"{path} cannot be read ({why}): check its path and rights") from error


def text_of(value: object) -> str | None:
    """A scalar as ``clean`` gives it; None for lists and objects, which are no texts."""
    if type(value) is str and value.isascii() and "\x00" not in value:  # most are, and this is several times quicker
        return value.strip() or None
    return None if isinstance(value, dict | list) else clean(value)


def refused(path: Path, why: str, wanted: str) -> CaptionlakeError:
    """The error for a file that is not of a source's format."""
    looks = looks_like(path)
    return CaptionlakeError(f"{path} {why}{f' (it looks like {looks})' if looks else ''}: give {wanted}")


def _lists(window: "_Window", lists: tuple[str, ...]) -> Iterator[tuple[str, list[Any]]]:
    opening = window.peek()
    if opening == "[":
        if "" not in lists:
            return
        yield from (("", items) for items in window.array())
    elif opening == "{":
        window.take("{")
        if window.peek() == "}":
            return
        while True:
            if window.peek() != '"':
                raise window.broken("a key is expected")
            name = window.value()
            window.take(":")
            if window.peek() != "[":
                window.value()
            elif name in lists:
                yield from ((name, items) for items in window.array())
            else:
                for _ in window.array():
                    pass
            if window.peek() != ",":
                window.take("}")
                break
            window.take(",")
    else:
        raise window.broken("it begins with neither [ nor {" if opening else _EMPTY)
    if window.peek():
        raise window.broken("there is more after its end")


class _Window:
    """The part of the file that is being parsed: ``text`` from ``at`` on is still to come."""

    def __init__(self, path: Path, file: BinaryIO, drop: re.Pattern[str] | None) -> None:
        self.path = path
        self.text = ""
        self.at = 0
        self.items = 0
        self._file = file
        self._drop = drop
        self._held = ""  # read, but with what may be the beginning of something to drop
        self._before = 0  # characters that were forgotten before text[0]
        self._ended = False
        self._tried = (
            False  # whether this text has been given to the decoder of many items, in vain or to its last item
        )
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()

    def array(self) -> Iterator[list[Any]]:
        """The items of the array that begins here, some at a time."""
        self.take("[")
        if self.peek() == "]":
            self.take("]")
            return
        decode = _DECODER.raw_decode
        while True:
            try:
                value, end = decode(self.text, self.at)
            except (ValueError, RecursionError):
                value, end = None, -1
            if isinstance(value, dict):  # only a whole one is decoded
                self.at = end
            else:
                value = self.value()
            yield [value]
            self.items += 1
            last = self.at - 1
            comma = _COMMA.match(self.text, self.at)
            if comma and comma.end() < len(self.text):
                self.at = comma.end()
                if not self._tried and (items := self._many(last)):
                    yield items
                    self.items += len(items)
            elif self.peek() == ",":
                self.take(",")
                self.peek()
            else:
                break
        self.take("]")

    def _many(self, last: int) -> list[Any] | None:
        """The items from here to the last beginning of an item in the window, after ``text[last]``, the end of the item before.

        Where an item ends is guessed: at text that is like what stands between the item before and this. The guess cannot be wrong
        unnoticed. A text that begins where an item begins, and with ``[`` before and ``]`` after is JSON, consists of whole
        items, for the way JSON is read to a place does not depend on what follows, and a ``}`` or ``"`` that ends a value can
        not go on. Within a string or an item the text lacks an end, and is refused.
        """
        self._tried = True
        beginning = _BEGINNING.match(self.text, self.at)
        if beginning is None or self.text[last] not in '}"':
            return None
        between = self.text[last : beginning.end()]
        end = self.text.rfind(between, self.at, self.at + _BATCH) + 1
        if end == 0:
            return None
        try:
            items = from_json(f"[{self.text[self.at : end]}]", allow_inf_nan=False, cache_strings="keys")
        except ValueError:
            return None
        self.at += end - 1 - last
        self._tried = False
        assert isinstance(items, list)
        return items

    def peek(self) -> str:
        """The next character that is not white space, or an empty string at the end."""
        while True:
            found = _SPACE.match(self.text, self.at)
            self.at = found.end() if found else self.at
            if self.at < len(self.text):
                return self.text[self.at]
            if not self._more():
                return ""

    def take(self, wanted: str) -> None:
        """Step over that character."""
        if self.peek() != wanted:
            raise self.broken(f"{wanted} is expected")
        self.at += 1

    def value(self) -> Any:
        """The value that begins here; the window grows until it holds it."""
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                # Unfinished, or wrong? What can be unfinished breaks at the window's end, or is a string that has no end yet.
                unfinished = error.pos >= len(self.text) - 16 or error.msg.startswith("Unterminated")
                if unfinished and not self._ended:
                    self._more()  # which moves the places within the text, so it is decoded again
                    continue
                self.at = error.pos
                raise self.broken(error.msg) from error
            except RecursionError as error:
                raise self.broken("lists or objects too deep in one another") from error
            except ValueError as error:  # a number of thousands of digits
                raise self.broken("a number too long") from error
            # A number may go on past the window, of which two characters can be seen already: the 1 of 1e+5.
            if end + 2 < len(self.text) or isinstance(value, dict | list) or self._ended:
                self.at = end
                return value
            self._more()

    def broken(self, why: str) -> CaptionlakeError:
        """The error at this place."""
        left = self.text[self.at :].strip()
        if self._ended and (why.startswith("Unterminated") or left in _UNFINISHED or _ESCAPE.fullmatch(left)):
            line, column = self._place(len(self.text))
            if why == _EMPTY:
                return CaptionlakeError(f"{self.path} is empty: not valid JSON: download it again")
            after = f" after {self.items:,} items" if self.items else ""
            return CaptionlakeError(
                f"{self.path} line {line} column {column}: cut off{after}: not valid JSON: download it again"
            )
        line, column = self._place(self.at)
        looks = looks_like(self.path)
        return CaptionlakeError(
            f"{self.path} line {line} column {column}: not valid JSON ({why}"
            f"{f'; the file looks like {looks}' if looks else ''}): download it again"
        )

    def _more(self) -> bool:
        """Read on, at least as much again as the window holds, and forget what is parsed. False at the end of the file."""
        if self._ended:
            return False
        left = len(self.text) - self.at
        if left > _MAX_ITEM:
            line, column = self._place(self.at)
            raise refused(
                self.path, f"line {line} column {column}: an item over {_MAX_ITEM:,} characters", "a list of rows"
            )
        self._before += self.at
        self.text = self.text[self.at :]
        self.at = 0
        self._tried = False
        before = len(self.text)
        while len(self.text) == before and not self._ended:
            self.text += self._cut(self._read(max(_READ_BYTES, left)))
        return len(self.text) > before

    def _read(self, n_bytes: int) -> str:
        data = self._file.read(n_bytes)
        self._ended = not data
        if not self._before and not self.text and (b"\x00" in data[:4] or data[:2] in _UTF_16):
            raise refused(self.path, "is not JSON in UTF-8", "the file as it was published")
        try:
            return self._decoder.decode(data)
        except UnicodeDecodeError as error:
            read = self.text + self._held + bytes(error.object)[: error.start].decode("utf-8", "replace")
            self.text, self.at = read, len(read)
            line, column = self._place(self.at)
            raise refused(
                self.path, f"line {line} column {column}: a byte that is not UTF-8", "the file saved as UTF-8"
            ) from error

    def _cut(self, text: str) -> str:
        """The text without what is to be dropped; what stands after the last object's end waits for the next part."""
        if self._drop is None:
            return text
        text = self._held + text
        whole = len(text) if self._ended or len(text) > _MAX_ITEM else text.rfind("}") + 1
        self._held = text[whole:]
        return self._drop.sub('"segmentation":0', text[:whole])

    def _place(self, at: int) -> tuple[int, int]:
        """(line, column) of a place in the window, from 1; what stands before the window is read again, for the first error only."""
        lines, column = self.text.count("\n", 0, at), at - self.text.rfind("\n", 0, at)
        if not self._before:
            return 1 + lines, column
        with self.path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            before, left, since = 0, self._before, 0  # line breaks, characters to come, characters since the last break
            while left and (part := file.read(min(left, _READ_BYTES))):
                left -= len(part)
                broken = part.rfind("\n") + 1
                since = len(part) - broken if broken else since + len(part)
                before += part.count("\n")
        return 1 + before + lines, column if lines else column + since


_EMPTY = "it is empty"
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_UNFINISHED = {word[:n] for word in ("true", "false", "null", "NaN", "-Infinity") for n in range(len(word) + 1)}
_ESCAPE = re.compile(r"\\?u[0-9a-fA-F]{0,4}")
