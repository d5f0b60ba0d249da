"""Words and sentences of a text, and what of it is not a quotation."""

import re
from collections.abc import Iterator
from functools import lru_cache

from captionlake.curation.flags.flag import Span

WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_SENTENCE_END = re.compile(r"[.!?。！？]+[\"'”’)\]*]*(?:\s+|$)|\n+")
# By the sign that opens it; the plain apostrophe only where it opens a word and another closes one.
_QUOTED = {
    '"': re.compile(r"\"[^\"\n]{1,400}\""),
    "“": re.compile(r"“[^”\n]{1,400}”"),
    "«": re.compile(r"«[^»\n]{1,400}»"),
    "‘": re.compile(r"‘[^’\n]{1,400}’(?!\w)"),
    " '": re.compile(r"(?<!\w)'[^'\n]{1,200}'(?!\w)"),
}
_ALL_BUT = 0.6  # a text that is quoted to so large a part is put in quotation marks, and quotes nothing
SHOWN = 60  # characters of what a detail quotes


@lru_cache(maxsize=8)  # several checks ask for the words of one text
def words(text: str) -> tuple[str, ...]:
    """Lower-case words, without punctuation."""
    return tuple(WORD.findall(text.lower()))


def sentences(text: str) -> Iterator[Span]:
    """Where sentences stand, from the end of the one before; a line break ends one too."""
    start = 0
    for end in _SENTENCE_END.finditer(text):
        if text[start : end.start()].strip():
            yield start, start + len(text[start : end.end()].rstrip())
        start = end.end()
    if text[start:].strip():
        yield start, len(text)


def quotations(text: str) -> list[Span]:
    """What stands in quotation marks, and these; of such as cross, the first."""
    spans: list[Span] = []
    for sign, pattern in _QUOTED.items():
        if sign in text:
            spans += [found.span() for found in pattern.finditer(text)]
    found_by: list[Span] = []
    for span in sorted(spans):
        if not found_by or span[0] >= found_by[-1][1]:
            found_by.append(span)
    return found_by


def unquoted(text: str) -> str:
    """The text with blanks in the place of quotations: what a picture's signs say is not what the caption says."""
    spans = quotations(text)
    if not spans or sum(end - start for start, end in spans) > _ALL_BUT * len(text):
        return text
    parts, at = [], 0
    for start, end in spans:
        parts += [text[at:start], " " * (end - start)]
        at = end
    return "".join([*parts, text[at:]])


def shown(text: str) -> str:
    """A part of a text on one line, cut where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[: SHOWN - 1]}…"
