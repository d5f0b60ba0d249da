"""Markdown made of hostile text: what a caption, a title or a name says can neither mark up nor break out.

In the template every value passes ``markdown``; only ``Safe`` text, which this module made, goes in as it is.
"""

import re
import unicodedata
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlsplit


class Safe(str):
    """Text that is Markdown already."""

    __slots__ = ()


_PUNCTUATION = re.compile(r"[\\`*_\[\]|~#$]")
_AT_START = re.compile(r"^(?:[-+=:]|\d{1,9}[.)](?=\s|$))")
# Where renderers begin to guess a link or a mention: http://, //host, www., name.tld, an address.
_LINKS = re.compile(r"(?=://)|(?<!:)(?=//)|(?<=[^\s.])(?=\.[^\W\d_]{2})|(?=@)")
_NOTHING = "<!-- -->"
_SPLIT = "\ue000"  # stands for _NOTHING while the rest is escaped; private use, removed from hostile text before
_LEFT = re.compile(
    r"[\u2066-\u2069\u202a-\u202e\u200e\u200f\u061c\ufeff\ue000]"
)  # bidirectional controls, byte order mark

_ROWS = 60  # of a table
_CELL = 160  # characters of a text in a table


def one_line(text: object) -> str:
    """White space of any kind as single spaces; control characters and bidirectional overrides as U+FFFD."""
    joined = " ".join(str(text).split())
    return "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cs") or _LEFT.match(c) else c for c in joined)


def excerpt(text: object, length: int) -> str:
    """At most ``length`` characters on one line, cut at a word where there is one."""
    line = one_line(text)
    if len(line) <= length:
        return line
    cut = line[: length - 1]
    return f"{cut[: cut.rfind(' ')] if ' ' in cut[length // 2 :] else cut}…"


def markdown(value: object) -> Safe:
    """Any value as inline Markdown that shows it and does nothing else."""
    if isinstance(value, Safe):
        return value
    if isinstance(value, bool):
        return Safe("yes" if value else "no")
    if isinstance(value, int):
        return Safe(f"{value:,}")
    if isinstance(value, float):
        return Safe(f"{value:,.10g}")
    if value is None:
        return Safe("–")
    text = _LINKS.sub(_SPLIT, one_line(value))
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    text = _PUNCTUATION.sub(lambda found: "\\" + found.group(), text)
    text = _AT_START.sub(lambda found: found.group()[:-1] + "\\" + found.group()[-1], text)
    if text.startswith(_SPLIT):  # a comment at the start of a line would begin a block of HTML
        text = f"&#{ord(text[1])};{text[2:]}"
    return Safe(text.replace(_SPLIT, _NOTHING))


def code(value: object) -> Safe:
    """A code span. In a table its ``|`` must be escaped, which Markdown's tables undo."""
    text = one_line(value)
    fence = "`" * (_longest_run(text) + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return Safe(f"{fence}{pad}{text}{pad}{fence}".replace("|", "\\|")) if text else Safe("–")


def fenced(text: str, language: str = "") -> Safe:
    """A code block of many lines; the fence is longer than any run of backticks inside."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").strip("\n")
    shown = "".join(
        "\ufffd" if (unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t") or _LEFT.match(c) else c
        for c in lines
    )
    fence = "`" * max(3, _longest_run(shown) + 1)
    return Safe(f"{fence}{language}\n{shown}\n{fence}")


def link(text: object, url: object) -> Safe:
    """A link where ``url`` is plain http or https; else the text alone."""
    target = web_url(url)
    return Safe(f"[{markdown(text)}](<{target}>)") if target else markdown(text)


def web_url(url: object) -> str | None:
    """``url`` with every doubtful character percent-encoded, where it is http or https with a host; else None."""
    text = "".join(str(url or "").split())
    try:
        parts = urlsplit(text)
        host = parts.hostname
    except ValueError:
        return None
    if parts.scheme.lower() not in ("http", "https") or not host or len(text) > 2000:
        return None
    return quote(text.encode("utf-8", "replace"), safe="/:?#@!$&'()+,;=%~-._*")


def table(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> Safe:
    """A table; columns of numbers stand to the right. Long texts are cut, and rows past the 60th counted instead."""
    right = [
        any(_number(row[i]) for row in rows) and all(_number(row[i]) or row[i] is None for row in rows)
        for i in range(len(headers))
    ]
    lines = [
        "| " + " | ".join(markdown(header) for header in headers) + " |",
        "|" + "|".join("---:" if r else ":---" for r in right) + "|",
    ]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows[:_ROWS]]
    if len(rows) > _ROWS:
        lines += ["", f"{plural(len(rows) - _ROWS, 'more row stands', 'more rows stand')} in the fact."]
    return Safe("\n".join(lines))


def _cell(value: Any) -> str:
    if isinstance(value, str) and not isinstance(value, Safe):
        value = excerpt(value, _CELL)
    return markdown(value) or " "


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall(r"`+", text)), default=0)


def file_size(n_bytes: int) -> str:
    """Bytes for people: ``12.3 MB`` (powers of 1000)."""
    size = float(n_bytes)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"


def plural(n: int, one: str, many: str | None = None) -> str:
    """``1 item``, ``2,000 items``."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"
