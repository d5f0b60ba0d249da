"""The k nearest are those of brute force in float64, whatever the blocks, ties and near ties."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captionlake.curation.cosine import Vectors, exact_cosine
from captionlake.curation.nearest import nearest


def unit(wide: npt.NDArray[np.float64]) -> Vectors:
    made: Vectors = (wide / np.linalg.norm(wide, axis=1, keepdims=True)).astype(np.float32)
    return made


def made(seed: int, n: int, d: int, kind: str) -> tuple[Vectors, Vectors]:
    chance = np.random.default_rng(seed)
    vectors = chance.normal(size=(n, d))
    query = chance.normal(size=d)
    if kind == "identical":
        vectors[:] = vectors[0]
    elif kind == "groups":
        vectors = vectors[chance.integers(0, max(1, n // 10), size=n)]
    elif kind == "close":  # within float32's rounding of one another
        vectors = query + 1e-3 * chance.normal(size=(n, d))
    return unit(vectors), unit(query[None])[0]


def brute(vectors: Vectors, query: Vectors, k: int, allowed: np.ndarray) -> list[tuple[float, int]]:
    cosines = [(-exact_cosine(vector, query), row) for row, vector in enumerate(vectors) if allowed[row]]
    return sorted(cosines)[:k]


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 120),
    st.sampled_from([2, 8, 33, 512]),
    st.integers(1, 130),
    st.sampled_from(["random", "identical", "groups", "close"]),
    st.integers(1, 200_000),
    st.booleans(),
)
def test_equal_brute_force(seed: int, n: int, d: int, k: int, kind: str, block_bytes: int, some: bool) -> None:
    vectors, query = made(seed, n, d, kind)
    mask = np.random.default_rng(seed).random(n) < 0.5 if some else np.ones(n, dtype=bool)
    rows, cosines = nearest(vectors, query, k, allowed=mask if some else None, block_bytes=block_bytes)
    expected = brute(vectors, query, k, mask)
    assert len(rows) == len(expected)
    assert np.allclose(-np.array([cosine for cosine, _ in expected]), cosines, rtol=0, atol=1e-14)
    assert mask[rows].all()
    assert len(set(rows.tolist())) == len(rows)
    if kind != "close":  # there the order of some hangs on the last bit of float64
        assert rows.tolist() == [row for _, row in expected]


@pytest.mark.parametrize("length", [0.999, 1.0008])
def test_lengths_that_deviate_from_1_do_not_change_the_order(length: float) -> None:
    vectors, query = made(3, 400, 64, "random")
    stretched = vectors.copy()
    stretched[::2] *= np.float32(length)
    rows, _ = nearest(stretched, query, 25, deviation=1e-3)
    expected = sorted(((-exact_cosine(vector, query), row) for row, vector in enumerate(stretched)))[:25]
    assert rows.tolist() == [row for _, row in expected]


def test_none_of_no_vectors() -> None:
    rows, cosines = nearest(np.empty((0, 4), np.float32), np.ones(4, np.float32), 3)
    assert len(rows) == len(cosines) == 0
