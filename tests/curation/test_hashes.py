"""Perceptual hashes that are near: all of them, in any number of bits."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captionlake.curation.hashes import near_hashes, near_pairs

HASH = st.integers(0, 2**64 - 1)


@st.composite
def hashes(draw: st.DrawFn) -> list[int]:
    """Some hashes, and some that lie a few bits from one of these; again and again the same."""
    found = draw(st.lists(HASH, min_size=1, max_size=12))
    for _ in range(draw(st.integers(0, 20))):
        bits = draw(st.lists(st.integers(0, 63), max_size=9))
        found.append(draw(st.sampled_from(found)) ^ sum(1 << bit for bit in set(bits)))
    return draw(st.permutations(found))


@settings(max_examples=150, deadline=None)
@given(hashes(), st.integers(0, 12))
def test_near_pairs_are_those_of_all_pairs(values: list[int], distance: int) -> None:
    i, j, apart = near_pairs(np.array(values, np.uint64), distance)
    expected = [
        (a, b, bits)
        for a, b in combinations(range(len(values)), 2)
        if (bits := (values[a] ^ values[b]).bit_count()) <= distance
    ]
    assert list(zip(i.tolist(), j.tolist(), apart.tolist(), strict=True)) == expected


@pytest.mark.parametrize("distance", [1, 4, 8])
def test_among_many_hashes_none_that_was_planted_is_missed(distance: int) -> None:
    """So many that another number of bands is chosen than for few."""
    random = np.random.default_rng(distance)
    values = random.integers(0, 2**64, 40_000, dtype=np.uint64)
    flips = [sum(1 << int(bit) for bit in random.choice(64, distance, replace=False)) for _ in range(200)]
    planted = values[:200] ^ np.array(flips, np.uint64)
    i, j, apart = near_pairs(np.concatenate([values, planted]), distance)
    found = set(zip(i.tolist(), j.tolist(), strict=True))
    assert {(k, 40_000 + k) for k in range(200)} <= found
    assert (apart <= distance).all() and len(found) == len(i)


@settings(max_examples=60, deadline=None)
@given(st.lists(HASH, max_size=20), st.lists(st.integers(0, 7), max_size=8), st.integers(0, 16))
def test_near_hashes_are_those_of_all_pairs(left: list[int], flips: list[int], distance: int) -> None:
    right = [value ^ (2**flip - 1) for value in left for flip in flips]
    i, j, apart = near_hashes(np.array(left, np.uint64), np.array(right, np.uint64), distance)
    expected = {
        (a, b): bits
        for a, one in enumerate(left)
        for b, other in enumerate(right)
        if (bits := (one ^ other).bit_count()) <= distance
    }
    assert dict(zip(zip(i.tolist(), j.tolist(), strict=True), apart.tolist(), strict=True)) == expected
