"""How many words each text of a column has: a third of the time of a regular expression, which long captions need."""

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

_SLICE = 500  # texts at a time, so that their bytes stay in the processor's cache
# White space of Unicode beyond ASCII, by the number of its bytes in UTF-8, as one number.
_SPACES = [c for c in map(chr, range(128, 0x3001)) if c.isspace()]
_LONG_SPACES = {
    n: np.array([int.from_bytes(c.encode()) for c in _SPACES if len(c.encode()) == n], np.int32) for n in (2, 3)
}
_LEADS = np.zeros(256, bool)
_LEADS[[c.encode()[0] for c in _SPACES]] = True

Bytes = npt.NDArray[np.uint8]
Marks = npt.NDArray[np.bool_]


def word_counts(texts: pl.Series) -> pl.Series:
    r"""The number of matches of ``\S+`` in each text, null for null."""
    column = texts.to_arrow()
    offsets = np.frombuffer(column.buffers()[1], np.int64)[column.offset : column.offset + len(column) + 1]
    data = np.frombuffer(column.buffers()[2] or b"", np.uint8)
    counts = [_counts(data, offsets[row : row + _SLICE + 1]) for row in range(0, len(texts), _SLICE)]
    found = pl.Series(np.concatenate(counts) if counts else [], dtype=pl.UInt32)
    return pl.select(pl.when(texts.is_not_null()).then(found)).to_series()


def _counts(data: Bytes, offsets: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    data = data[offsets[0] : offsets[-1]]
    offsets = offsets - offsets[0]
    space = (data == 32) | (data - np.uint8(9) < 5)  # \t \n \v \f \r
    _mark_long_spaces(data, space)
    begins = ~space  # a word begins after white space,
    begins[1:] &= space[:-1]
    starts = offsets[:-1][offsets[:-1] < offsets[1:]]
    begins[starts] = ~space[starts]  # or at the text's beginning
    return np.diff(np.searchsorted(np.flatnonzero(begins), offsets))


def _mark_long_spaces(data: Bytes, space: Marks) -> None:
    """Set ``space`` at the bytes of characters of two and three bytes that are white space."""
    high = np.flatnonzero(data >= 0xC2)
    leads = high[_LEADS[data[high]]]
    for n, codes in _LONG_SPACES.items():
        at = leads[leads <= len(data) - n]
        value = np.zeros(len(at), np.int32)
        for index in range(n):
            value = value << 8 | data[at + index]
        found = at[np.isin(value, codes)]
        for index in range(n):
            space[found + index] = True
