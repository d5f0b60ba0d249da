"""Every number once, any part by itself, and as even as chance."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from captionlake.models.data.permutation import Permutation


@given(st.integers(1, 3000), st.integers(0, 2**40), st.integers(0, 100))
def test_every_number_stands_once(size: int, seed: int, epoch: int) -> None:
    order = Permutation(size, seed, epoch)(np.arange(size))
    assert np.array_equal(np.sort(order), np.arange(size))


@given(
    st.integers(1, 2**40), st.integers(0, 2**20), st.lists(st.integers(0, 2**41), min_size=1, max_size=20, unique=True)
)
def test_parts_of_a_huge_order(size: int, seed: int, places: list[int]) -> None:
    chosen = np.unique(np.array(places) % size)
    permutation = Permutation(size, seed, 3)
    found = permutation(chosen)
    assert len(np.unique(found)) == len(chosen) and found.min() >= 0 and found.max() < size
    assert permutation(chosen[-1:]).tolist() == found[-1:].tolist()


def test_seeds_and_epochs_differ() -> None:
    places = np.arange(1000)
    orders = {tuple(Permutation(1000, seed, epoch)(places).tolist()) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_as_even_as_chance() -> None:
    """Chi-square over 1,000 seeds of where each number goes (df 29 x 29 = 841, standard deviation 41), of which number follows which
    (870 pairs, of which a number has 29), and of all orders of four."""
    orders = np.stack([Permutation(30, seed, 0)(np.arange(30)) for seed in range(1000)])
    counts = np.stack([np.bincount(column, minlength=30) for column in orders.T])
    assert abs(chi_square(counts) - 841) < 4 * 41
    pairs = np.bincount((orders[:, :-1] * 30 + orders[:, 1:]).ravel(), minlength=900).reshape(30, 30)
    followed = pairs[~np.eye(30, dtype=bool)]
    assert abs(chi_square(followed) - 870) < 4 * 42
    four = np.stack([Permutation(4, seed, 0)(np.arange(4)) for seed in range(1200)])
    kinds, seen = np.unique(four, axis=0, return_counts=True)
    assert len(kinds) == 24 and chi_square(seen) < 23 + 4 * 6.8


def chi_square(counts: np.ndarray) -> float:
    expected = counts.mean()
    return float(((counts - expected) ** 2 / expected).sum())
