"""``wrong_language``: the text, its beginning or its end is in another language than the one wanted.

Judged are pieces of 240 characters of what is not quoted, and only where there are ``language_letters`` letters in a piece: a shorter
one is never flagged, as py3langid is not sure of it.
"""

from captionlake.curation.flags.config import FlagConfig
from captionlake.curation.flags.flag import Caption, Finding, Flag, Span
from captionlake.curation.flags.text import unquoted, words
from captionlake.lake.measures import language

VERSION = 1
_PIECE = 240  # characters
_PROBABILITY = 0.9
_ENGLISH = frozenset(
    [
        "the",
        "of",
        "and",
        "with",
        "is",
        "are",
        "by",
        "from",
        "its",
        "this",
        "which",
        "has",
        "there",
        "that",
        "while",
        "their",
    ]
)
_ENGLISH_SHARE = 0.15  # of a piece's words; the language model, many times as slow, need not be asked then


def wrong_language(caption: Caption, config: FlagConfig) -> Finding | None:
    """The language of the first piece, and of the last one of a long text."""
    text = unquoted(caption.text)
    pieces: list[Span] = [(0, min(len(text), _PIECE))]
    if len(text) >= 2 * _PIECE:
        pieces.append((len(text) - _PIECE, len(text)))
    for start, end in pieces:
        piece = text[start:end]
        if sum(map(str.isalpha, piece)) < config.language_letters or _is_english(piece, config.language):
            continue
        found = language(piece, _PROBABILITY)
        if found is not None and found != config.language:
            whole = len(text) <= end - start
            where = "" if whole else " at its beginning" if start == 0 else " at its end"
            return Finding(
                flag=Flag.WRONG_LANGUAGE, detail=f"{found}{where}, not {config.language}", spans=((start, end),)
            )
    return None


def _is_english(piece: str, wanted: str) -> bool:
    if wanted != "en" or not piece.isascii():
        return False
    said = words(piece)
    return sum(word in _ENGLISH for word in said) >= _ENGLISH_SHARE * len(said)
