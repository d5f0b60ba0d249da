"""What an answer says: yes or no, a letter, a score. Where a rule finds nothing it gives None, and nobody guesses."""

import re
from collections.abc import Sequence

_LETTER = re.compile(r"\(?([A-Za-z])(?:\)?[.:,)]*$|[.:)]+\s)")
_WORDS = re.compile(r"[a-z']+")
_SCORE = re.compile(r"(?:(?:score|correctness)\s*[:=]\s*)?([0-9]+(?:\.[0-9]+)?)\s*\.?", re.IGNORECASE)
_PAIR = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*[\s,;]\s*([0-9]+(?:\.[0-9]+)?)\s*")

Options = Sequence[tuple[str, str]]


def yes_or_no(answer: str) -> str | None:
    """ "yes" or "no": the answer's first word. MME's own tool looks at the first four characters, which takes "nothing" for a no."""
    words = _WORDS.findall(answer.lower())
    return {"yes": "yes", "y": "yes", "no": "no", "n": "no"}.get(words[0]) if words else None


def letter(answer: str, options: Options) -> str | None:
    """The letter that an answer is or begins with: ``B``, ``b``, ``(B)``, ``B.``, ``B. a cat``. A capital A that begins a sentence
    without a point after it ("A cat") is an article."""
    found = _LETTER.match(answer.strip())
    chosen = found[1].upper() if found else None
    return chosen if any(chosen == name for name, _ in options) else None


def letter_or_text(answer: str, options: Options) -> str | None:
    """As ``letter``; else the option whose text the answer is; else the only one whose text stands in it."""
    chosen = letter(answer, options)
    if chosen is not None:
        return chosen
    said = _folded(answer)
    texts = [(name, _folded(text)) for name, text in options]
    same = [name for name, text in texts if text and text == said]
    within = [name for name, text in texts if text and f" {text} " in f" {said} "]
    for found in (same, within):
        if len(found) == 1:
            return found[0]
    return None


def _folded(text: str) -> str:
    """Words alone, in small letters."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def score_between(reply: str, least: float, most: float) -> float | None:
    """The number that is a reply's first line (``0.7``, ``Score: 0.7``), where it is on the scale."""
    found = _SCORE.fullmatch(_first_line(reply))
    if found is None:
        return None
    value = float(found[1])
    return value if least <= value <= most else None


def two_scores(reply: str, least: float, most: float) -> tuple[float, float] | None:
    """The two numbers that are a reply's first line (``8 6.5``), where both are on the scale."""
    found = _PAIR.fullmatch(_first_line(reply))
    if found is None:
        return None
    first, second = float(found[1]), float(found[2])
    return (first, second) if least <= first <= most and least <= second <= most else None


def _first_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[0].strip() if lines else ""
