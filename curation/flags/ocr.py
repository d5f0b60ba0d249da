"""What a caption quotes, beside the strings that OCR read in its picture. OCR misreads: words count as the same from a likeness on."""

import re

from captionlake.curation.flags.flag import Span
from captionlake.curation.flags.text import WORD, quotations, words

ALIKE = 80.0  # rapidfuzz's ratio of two words, 0 to 100
FEWEST_READ = 2  # strings, below which nothing is omitted, and nothing contradicted
_FEWEST_QUOTED = 2  # words, below which nothing is contradicted
_LETTERS = 3  # of a word that is compared
_LONG = 5  # letters of a word that may be a part of another, or of several, as OCR cuts and joins them
_HAS_LETTER = re.compile(r"[^\W\d_]")


def readable(ocr: tuple[str, ...]) -> list[str]:
    """The words that OCR read, each once, of those long enough to be compared."""
    return list(dict.fromkeys(word for text in ocr for word in words(text) if _counts(word)))


def unread_quotations(text: str, ocr: tuple[str, ...], share: float) -> list[tuple[str, Span]]:
    """Quoted words that OCR did not read, with their places; empty where they are less than this share of the quoted ones."""
    read = readable(ocr)
    if len(read) < FEWEST_READ:
        return []
    together = "".join(read)
    quoted = [
        (found[0].lower(), (start + found.start(), start + found.end()))
        for start, end in quotations(text)
        for found in WORD.finditer(text[start:end])
        if _counts(found[0])
    ]
    unread = [(word, span) for word, span in quoted if not _within(word, together) and not _near(word, read)]
    return unread if len(quoted) >= _FEWEST_QUOTED and len(unread) >= share * len(quoted) else []


def missing_strings(text: str, ocr: tuple[str, ...]) -> list[str]:
    """The words that OCR read and the text does not say."""
    said = words(text)
    each, joined = list(dict.fromkeys(said)), "".join(said)
    return [word for word in readable(ocr) if not _within(word, joined) and not _near(word, each)]


def text_recall(text: str, ocr: tuple[str, ...]) -> tuple[int, int]:
    """How many words OCR read, and how many of them the text says."""
    read = len(readable(ocr))
    return read, read - (len(missing_strings(text, ocr)) if read else 0)


def _counts(word: str) -> bool:
    return len(word) >= _LETTERS and _HAS_LETTER.search(word) is not None


def _within(word: str, joined: str) -> bool:
    return len(word) >= _LONG and word in joined


def _near(word: str, among: list[str]) -> bool:
    from rapidfuzz.fuzz import ratio
    from rapidfuzz.process import extractOne

    return extractOne(word, among, scorer=ratio, score_cutoff=ALIKE) is not None
