"""The code blocks of the documentation's pages, with the marker that stands before one that is not run as it is.

A marker is a comment on the line before the fence: ``<!-- not run: WHY -->``; ``<!-- not run where "TEXT": WHY -->`` (or several:
``where "TEXT" where "TEXT"``) for the commands of the block that have the text; ``<!-- run by PATH -->`` where another test runs it.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SHELL, PYTHON = ("sh", "bash", "console"), "python"
_BLOCK = re.compile(r"^(?:<!-- ((?:not run|run by).*?) -->\n)?```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MARKER = re.compile(r'not run(?P<where>(?: where "[^"]+")*): (?P<why>.{10,})|run by (?P<path>\S+)')


@dataclass(frozen=True, slots=True)
class Block:
    """``skips``: texts of the commands that are not run; ``whole``: none of the block is. ``test``: the file that runs it."""

    page: Path
    line: int
    language: str
    text: str
    skips: tuple[str, ...] = ()
    whole: bool = False
    test: str | None = None

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """All blocks of a page. A marker that cannot be read fails."""
    text, found = page.read_text(), []
    for match in _BLOCK.finditer(text):
        marker, language, code = match.groups()
        line = text[: match.start(3)].count("\n")
        skips: tuple[str, ...] = ()
        whole, test = False, None
        if marker is not None:
            read = _MARKER.fullmatch(marker)
            assert read is not None, f"{page}:{line}: a marker says why: {marker}"
            skips = tuple(re.findall(r'"([^"]+)"', read["where"] or ""))
            assert all(skip in code for skip in skips), f"{page}:{line}: {skips}"
            whole, test = not skips, read["path"]
        found.append(Block(page, line, language, code, skips, whole, test))
    assert len(found) == len(re.findall(r"^```\w*$", text, re.MULTILINE)) / 2, f"{page}: a fence is open"
    return found


def commands(text: str) -> Iterator[str]:
    """The commands of a block of shell, each with its lines; of a transcript (``$ …``) those that were typed."""
    typed = [line[2:] for line in text.splitlines() if line.startswith("$ ")]
    held, end = "", None
    for line in typed or text.splitlines():
        held += ("\n" if held else "") + line
        if end is not None:
            if line != end:
                continue
            end = None
        elif document := re.search(r"<<'?(\w+)'?", line):
            end = document[1]
            continue
        if line.endswith("\\") or not _is_whole(held):
            continue
        if held.strip() and not held.lstrip().startswith("#"):
            yield held
        held = ""
    assert not held, f"not a whole command: {held}"


def _is_whole(command: str) -> bool:
    if "<<" in command:
        return True
    try:
        shlex.split(command, comments=True)
    except ValueError:
        return False
    return True
