"""Splits by hash: which split a row is in follows from its picture alone, so it stays there while the data set grows.

``n`` is the number that the first 13 hex digits of ``SHA-256("captionlake split:" + key)`` write, from 0 up to 16**13. The row
is in the first split, in the order of the recipe, with ``n < 16**13 * (its fraction + those before it)``, rounded to a whole
number. ``key`` is the ``image_id``, so the same bytes in two sources are in one split; of a conversation, that of its first
picture, and where the lake has none, the text of its record.
"""

import hashlib
import math
import re
from collections.abc import Mapping
from itertools import accumulate

from captionlake.lake.catalog import quote

DOMAIN = "captionlake split:"
_DIGITS = 13  # 52 bits: a whole number that a double holds
_NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")  # what `datasets` takes, in ASCII
_TOLERANCE = 1e-9


def check_splits(splits: dict[str, float]) -> dict[str, float]:
    """The splits as they came, or ValueError."""
    for name, fraction in splits.items():
        if not _NAME.fullmatch(name) or name == "all":
            raise ValueError(f"`{name}` is no name of a split: letters, digits, `_` and inner `.`, and not `all`")
        if not 0 < fraction <= 1:
            raise ValueError(f"`{name}` must be a fraction above 0 and up to 1, not {fraction:g}")
    folded = {name.casefold() for name in splits}
    if len(folded) < len(splits):
        raise ValueError("two splits differ in capitals alone: their files could not lie in one folder everywhere")
    total = math.fsum(splits.values())
    if abs(total - 1) > _TOLERANCE:
        raise ValueError(f"fractions must add up to 1, not {total:g}")
    return splits


def split_of(key: str, splits: Mapping[str, float]) -> str:
    """The split of a row, by its key."""
    number = int(hashlib.sha256(f"{DOMAIN}{key}".encode()).hexdigest()[:_DIGITS], 16)
    return next(name for name, bound in _bounds(splits) if number < bound)


def split_sql(key: str, splits: Mapping[str, float]) -> str:
    """As ``split_of``, an SQL expression; ``key`` is one too."""
    if len(splits) == 1:
        return quote(next(iter(splits)))
    number = f"('0x' || substr(sha256({quote(DOMAIN)} || {key}), 1, {_DIGITS}))::UBIGINT"
    *first, (last, _) = _bounds(splits)
    cases = " ".join(f"WHEN {number} < {bound} THEN {quote(name)}" for name, bound in first)
    return f"CASE {cases} ELSE {quote(last)} END"


def _bounds(splits: Mapping[str, float]) -> list[tuple[str, int]]:
    """Each split with the number that its rows stay under; the last one takes all that is left."""
    whole = 16**_DIGITS
    bounds = [round(total * whole) for total in accumulate(splits.values())]
    return list(zip(splits, [*bounds[:-1], whole], strict=True))
