"""The join by heads against every pair compared in full, in each form that it can take."""

import itertools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from captionlake.curation.cosine import Cosine, exact_cosine
from captionlake.curation.heads import EXTRA, Heads, Rotation, operands
from captionlake.curation.join import JoinConfig, cross_blocks, cross_pairs, joined, pair_blocks
from captionlake.errors import CaptionlakeError

Vectors = npt.NDArray[np.float32]
DTYPES = ("bfloat16", "float32")


def unit(rows: npt.NDArray[np.float64]) -> Vectors:
    made: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return made


def cone(random: np.random.Generator, n: int, d: int) -> Vectors:
    """Made-up vectors with a large common mean and variances that fall as 1/i, as CLIP's do."""
    spread = np.arange(1, d + 1) ** -0.5
    return unit(random.normal(size=d) + 2 * random.normal(size=(n, d)) * spread)


def planted(random: np.random.Generator, n: int, d: int, threshold: float) -> Vectors:
    """Such vectors, near-duplicates of some at the threshold and a hair beside it, and copies of some."""
    rows = list(cone(random, n, d))
    for shift in (0.0, 1e-7, -1e-7, 3e-8, -3e-8, 1e-3, -1e-3):
        base = rows[random.integers(n)].astype(np.float64)
        base /= np.linalg.norm(base)
        other = random.normal(size=d)
        other -= (other @ base) * base
        other /= np.linalg.norm(other)
        cosine = min(threshold + shift, 1.0)
        rows.append(unit((cosine * base + np.sqrt(1 - cosine**2) * other)[None])[0])
    rows += [rows[0], rows[1], rows[1]]
    return np.stack(rows)[random.permutation(len(rows))]


def all_pairs(vectors: Vectors, threshold: float) -> dict[tuple[int, int], float]:
    found = {}
    for i, j in itertools.combinations(range(len(vectors)), 2):
        if (cosine := exact_cosine(vectors[i], vectors[j])) >= threshold:
            found[i, j] = cosine
    return found


def as_dict(
    i: npt.NDArray[np.intp], j: npt.NDArray[np.intp], cosine: npt.NDArray[np.float64]
) -> dict[tuple[int, int], float]:
    pairs = list(zip(i.tolist(), j.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    return dict(zip(pairs, cosine.tolist(), strict=True))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    d=st.sampled_from([24, 96, 512]),
    threshold=st.sampled_from([0.3, 0.85, 0.95, 0.999, 1.0]),
    columns=st.sampled_from([EXTRA + 1, 8, 16]),
    dtype=st.sampled_from(DTYPES),
    block=st.integers(1, 50),
)
def test_heads_lose_no_pair(seed: int, d: int, threshold: float, columns: int, dtype: str, block: int) -> None:
    vectors = planted(np.random.default_rng(seed), 14, d, threshold)
    config = JoinConfig(columns=columns, dtype=dtype, block=block)
    found = as_dict(*joined([_EMPTY, *pair_blocks(vectors, threshold, config)]))
    expected = all_pairs(vectors, threshold)
    assert found.keys() == expected.keys()
    assert all(abs(found[pair] - expected[pair]) < 1e-12 for pair in found)


_EMPTY = (np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0))


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    dtype=st.sampled_from(DTYPES),
    k=st.sampled_from([1, 11, 27]),
    threshold=st.sampled_from([0.5, 0.95, 1.0]),
)
def test_a_negative_score_is_of_no_pair_and_most_have_one(seed: int, dtype: str, k: int, threshold: float) -> None:
    """The margins hold for each product, and are not so wide that nothing is ruled out."""
    vectors = planted(np.random.default_rng(seed), 300, 128, threshold)
    heads = Heads(vectors, Rotation.of(vectors), k, getattr(torch, dtype))
    left, right = operands(heads, heads, threshold)
    scores = left @ right.T
    wide = vectors.astype(np.float64)
    cosines = wide @ wide.T / np.sqrt(np.outer((wide**2).sum(1), (wide**2).sum(1)))
    ruled_out = (scores < 0).numpy()
    assert not (ruled_out & (cosines >= threshold - 1e-9)).any()
    if threshold >= 0.95 and k == 27:
        assert ruled_out.mean() > 0.6


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_chosen_head_and_a_pool_of_copies(dtype: str) -> None:
    """A few thousand vectors, so that the sizes are tried; 300 of them near-copies of one, whose block is dense."""
    random = np.random.default_rng(2)
    vectors = cone(random, 3000, 256)
    near = vectors[5].astype(np.float64) + 1e-3 * random.normal(size=(300, 256))
    vectors[random.choice(3000, 300, replace=False)] = unit(near)
    products = vectors.astype(np.float64) @ vectors.astype(np.float64).T
    expected = np.argwhere(np.triu(products >= 0.95, 1))
    for block in (512, 2048):
        i, j, _ = joined([_EMPTY, *pair_blocks(vectors, 0.95, JoinConfig(dtype=dtype, block=block))])
        assert sorted(zip(i.tolist(), j.tolist(), strict=True)) == list(map(tuple, expected.tolist()))
    assert len(expected) > 300 * 299 / 2 - 1


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 20),
    m=st.integers(1, 20),
    threshold=st.sampled_from([0.5, 0.9, 1.0]),
    dtype=st.sampled_from(DTYPES),
)
def test_across_two_sets(seed: int, n: int, m: int, threshold: float, dtype: str) -> None:
    random = np.random.default_rng(seed)
    left, right = cone(random, n, 48), cone(random, m, 48)
    right[random.integers(m)] = left[random.integers(n)]
    expected = {
        (i, j): exact_cosine(left[i], right[j])
        for i in range(n)
        for j in range(m)
        if exact_cosine(left[i], right[j]) >= threshold
    }
    i, j, cosine = cross_pairs(left, right, threshold, JoinConfig(columns=16, dtype=dtype, block=7))
    assert as_dict(i, j, cosine).keys() == expected.keys()
    assert list(zip(i, j, strict=True)) == sorted(expected)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), fresh=st.integers(0, 30), block=st.integers(1, 40))
def test_only_pairs_with_a_fresh_vector(seed: int, fresh: int, block: int) -> None:
    vectors = planted(np.random.default_rng(seed), 20, 32, 0.9)
    expected = {pair for pair in all_pairs(vectors, 0.9) if pair[0] < fresh}
    told: list[int] = []
    parts = pair_blocks(vectors, 0.9, JoinConfig(columns=12, block=block), fresh=fresh, advance=told.append)
    assert as_dict(*joined([_EMPTY, *parts])).keys() == expected
    assert sum(told) == min(fresh, len(vectors))


def test_the_number_of_threads_changes_nothing() -> None:
    vectors = planted(np.random.default_rng(7), 400, 512, 0.9)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            i, j, cosine = joined([_EMPTY, *pair_blocks(vectors, 0.8, JoinConfig(columns=16, block=64))])
            order = np.lexsort((j, i))
            found.append((i[order].tolist(), j[order].tolist(), cosine[order].tobytes()))
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1] == found[2]
    assert len(found[0][0]) > 5


@pytest.mark.parametrize("look", [cross_pairs, lambda left, right, t: list(cross_blocks(left, right, t))])
def test_vectors_of_two_lengths_and_none(look: Callable[[Vectors, Vectors, float], object]) -> None:
    with pytest.raises(CaptionlakeError, match="vectors of 3 and of 4 numbers"):
        look(unit(np.ones((1, 3))), unit(np.ones((1, 4))), 0.9)
    i, _, _ = cross_pairs(np.empty((0, 3), np.float32), unit(np.ones((1, 3))), 0.9)
    assert not len(i)


@pytest.mark.parametrize("wrong", [0.0, 2.0, float("nan"), float("inf")])
def test_a_vector_of_no_unit_length_is_refused_on_either_side(wrong: float) -> None:
    good, bad = unit(np.ones((2, 3))), np.full((1, 3), wrong, np.float32)
    for left, right in ((good, bad), (bad, good)):
        with pytest.raises(CaptionlakeError, match="unit length"):
            cross_pairs(left, right, 0.9)


def test_a_rotation_is_one() -> None:
    vectors = cone(np.random.default_rng(1), 500, 64)
    axes = Rotation.of(vectors).axes.numpy()
    assert np.abs(axes.T @ axes - np.eye(64)).max() < 1e-12
    Cosine(vectors)
