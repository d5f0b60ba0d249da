"""``repetition``: a caption that runs in a loop: words, phrases or sentences said again and again. Time grows with the text's length.

Four signs, the first that holds is told. A sentence of three words or more that stands there ``repeat_times`` times; as many
times the same ``repeat_words`` words in a row; a period of at most eight words that fills many in a row (a word or two that
stutter); a string without blanks that repeats itself. What is said but twice counts where it makes up much of the text and zlib
finds it so too.
"""

import re
import zlib
from collections import Counter

from captionlake.curation.flags.config import FlagConfig
from captionlake.curation.flags.flag import Caption, Finding, Flag, Span
from captionlake.curation.flags.text import WORD, sentences, shown, words

VERSION = 1
SENTENCE_WORDS = 3  # of a sentence whose repetition counts
PERIOD = 8  # words of the longest loop that is looked for by itself
LOOP_WORDS = 10  # in a row that a period must fill, five times over at least
LOOP_TIMES = 5
TWICE_SHARE = 0.4  # of the words that are said twice, from which on zlib is asked
TWICE_RATIO = 0.42  # compressed bytes to bytes; English prose of 800 characters has about 0.55, of 3,000 about 0.45
LONG_STRING = 60  # characters without a blank
_STRING = re.compile(rf"\S{{{LONG_STRING},}}")
_STRING_LOOP = re.compile(r"(.{1,12}?)\1{9,}")
_BYTES = 200  # of a text, below which a ratio says nothing


def repetition(caption: Caption, config: FlagConfig) -> Finding | None:
    """The first sign of a loop."""
    text = caption.text
    found = _string(text)
    if found is None and _says_again(words(text), config):
        places = [match.span() for match in WORD.finditer(text)]
        said = [text[start:end].lower() for start, end in places]
        found = (
            _sentence(text, config.repeat_times) or _phrase(text, said, places, config) or _stutter(text, said, places)
        )
    return None if found is None else Finding(flag=Flag.REPETITION, detail=found[0], spans=tuple(found[1]))


def _says_again(said: tuple[str, ...], config: FlagConfig) -> bool:
    """Whether there can be a loop of words: every sign below needs three in a row often, or ``repeat_words`` twice."""
    times = min(config.repeat_times, LOOP_TIMES - 1)
    threes = list(zip(said, said[1:], said[2:], strict=False))
    if len(set(threes)) == len(threes):
        return config.repeat_words < SENTENCE_WORDS
    if max(Counter(threes).values()) >= times or config.repeat_words < SENTENCE_WORDS:
        return True
    grams = list(zip(*(said[at:] for at in range(config.repeat_words)), strict=False))
    return len(set(grams)) < len(grams)


def _sentence(text: str, times: int) -> tuple[str, list[Span]] | None:
    places: dict[tuple[str, ...], list[Span]] = {}
    spans = list(sentences(text))
    if len(spans) < times:
        return None
    for start, end in spans:
        said = tuple(WORD.findall(text[start:end].lower()))
        if len(said) >= SENTENCE_WORDS:
            places.setdefault(said, []).append((start, end))
    most = max(places.values(), key=len, default=[])
    if len(most) < times:
        return None
    return f"a sentence {len(most)} times: {shown(text[most[0][0] : most[0][1]])}", most


def _phrase(text: str, said: list[str], places: list[Span], config: FlagConfig) -> tuple[str, list[Span]] | None:
    n = config.repeat_words
    if len(said) < 2 * n:
        return None
    grams = list(zip(*(said[at:] for at in range(n)), strict=False))
    counts = Counter(grams)
    if len(counts) == len(grams):
        return None
    gram, count = max(counts.items(), key=lambda item: item[1])
    if count >= config.repeat_times:
        spans = _spans(places, [at for at, other in enumerate(grams) if other == gram], n)
        return f"{n} words {count} times: {shown(text[spans[0][0] : spans[0][1]])}", spans
    again = [at for at, other in enumerate(grams) if counts[other] > 1]
    covered = len({at + more for at in again for more in range(n)}) / len(said)
    ratio = compression_ratio(text)
    if covered < TWICE_SHARE or ratio is None or ratio > TWICE_RATIO:
        return None
    spans = _spans(places, again, n)
    return f"{covered:.0%} of the words are said twice, zlib packs the text to {ratio:.0%}", spans


def _spans(places: list[Span], starts: list[int], n: int) -> list[Span]:
    """Of n words from each start on, those that touch made one."""
    spans: list[Span] = []
    for at in starts:
        start, end = places[at][0], places[at + n - 1][1]
        if spans and start <= spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return spans


def _stutter(text: str, said: list[str], places: list[Span]) -> tuple[str, list[Span]] | None:
    for period in range(1, PERIOD + 1):
        wanted = max(LOOP_WORDS, LOOP_TIMES * period)
        if len(said) < wanted:
            return None
        run = 0
        for at in range(period, len(said)):
            run = run + 1 if said[at] == said[at - period] else 0
            if run + period >= wanted:
                first = at - run - period + 1
                while at + 1 < len(said) and said[at + 1] == said[at + 1 - period]:
                    at += 1
                loop = text[places[first][0] : places[first + period - 1][1]]
                times = (at - first + 1) // period
                return f"{shown(loop)!r} {times} times in a row", [(places[first][0], places[at][1])]
    return None


def _string(text: str) -> tuple[str, list[Span]] | None:
    """A text of a language without blanks, or of one character alone, may loop as well."""
    for string in _STRING.finditer(text):
        loop = _STRING_LOOP.search(string[0])
        if loop is not None and loop.end() - loop.start() >= LONG_STRING // 2:
            start = string.start() + loop.start()
            times = (loop.end() - loop.start()) // len(loop[1])
            return f"{shown(loop[1])!r} {times} times in a row", [(start, start + loop.end() - loop.start())]
    return None


def compression_ratio(text: str) -> float | None:
    """zlib's bytes to the text's own; None of a text under 200 bytes."""
    data = text.encode("utf-8", "replace")
    return None if len(data) < _BYTES else len(zlib.compress(data, 6)) / len(data)
