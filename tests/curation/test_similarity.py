"""Similar pairs against every pair compared by exact sums."""

import itertools
import json
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captionlake.curation.cosine import Cosine, exact_cosine
from captionlake.curation.join import JoinConfig, pair_blocks
from captionlake.curation.similarity import find_pairs, pairs_complete, similar_pairs, stored_vectors
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake

Vectors = npt.NDArray[np.float32]


def unit(rows: npt.NDArray[np.float64]) -> Vectors:
    made: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return made


def at_angle(base: Vectors, cosine: float, random: np.random.Generator) -> Vectors:
    """A unit vector whose cosine with ``base`` is ``cosine`` but for float32 rounding."""
    wide = base.astype(np.float64) / np.linalg.norm(base.astype(np.float64))
    other = random.normal(size=len(base))
    other -= (other @ wide) * wide
    other /= np.linalg.norm(other)
    made: Vectors = unit((cosine * wide + np.sqrt(1 - cosine**2) * other)[None])[0]
    return made


def naive(ids: list[str], vectors: Vectors, threshold: float) -> dict[tuple[str, str], float]:
    found = {}
    for i, j in itertools.combinations(range(len(ids)), 2):
        cosine = exact_cosine(vectors[i], vectors[j])
        if cosine >= threshold:
            found[min(ids[i], ids[j]), max(ids[i], ids[j])] = cosine
    return found


def as_dict(table: pa.Table) -> dict[tuple[str, str], float]:
    return {(row["image_id"], row["other_id"]): row["similarity"] for row in table.to_pylist()}


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    d=st.sampled_from([2, 3, 24, 512]),
    threshold=st.sampled_from([0.0, 0.5, 0.85, 0.95, 0.999]),
    block=st.integers(1, 50),
)
def test_equals_all_pairs_with_pairs_planted_at_the_threshold(seed: int, d: int, threshold: float, block: int) -> None:
    random = np.random.default_rng(seed)
    rows = list(unit(random.normal(size=(12, d))))
    for shift in (0.0, 1e-7, -1e-7, 3e-8, -3e-8, 1e-9, -1e-9, 1e-3):
        rows.append(at_angle(rows[random.integers(len(rows))], min(threshold + shift, 1.0), random))
    rows += [rows[0], rows[3], rows[3]]
    vectors = np.stack(rows)[random.permutation(len(rows))]
    ids = [f"{number:04d}" for number in random.permutation(len(rows))]
    expected = naive(ids, vectors, threshold)
    found = as_dict(similar_pairs(ids, vectors, threshold, JoinConfig(block=block)))
    assert found.keys() == expected.keys()
    assert all(abs(found[pair] - expected[pair]) < 1e-12 for pair in found)


def test_planted_pairs_lie_closer_to_the_threshold_than_float32_can_tell() -> None:
    """The property test above would prove little if its pairs were easy: here float32 alone is wrong about some."""
    random, threshold = np.random.default_rng(5), 0.95
    bases = unit(random.normal(size=(400, 512)))
    others = np.stack([at_angle(base, threshold, random) for base in bases])
    exact = np.array([exact_cosine(x, y) for x, y in zip(bases, others, strict=True)])
    single = np.array([np.float32(x @ y) for x, y in zip(bases, others, strict=True)])
    assert np.abs(exact - threshold).max() < 1e-7
    assert ((exact >= threshold) != (single >= np.float32(threshold))).any()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), d=st.sampled_from([8, 96, 768]), scale=st.sampled_from([0.01, 1.0, 30.0]))
def test_float32_products_stay_within_the_stated_margin(seed: int, d: int, scale: float) -> None:
    random = np.random.default_rng(seed)
    vectors = unit(random.normal(size=(40, d)) + scale * random.normal(size=d))
    product = (vectors @ vectors.T).astype(np.float64)
    true = vectors.astype(np.float64) @ vectors.astype(np.float64).T
    assert np.abs(product - true).max() <= Cosine(vectors).margin


@pytest.mark.parametrize("d", [1, 7, 513])
def test_identical_vectors_are_similar_by_exactly_one(d: int) -> None:
    vector = unit(np.random.default_rng(d).normal(size=(1, d)))
    table = similar_pairs(["b", "a", "c"], np.repeat(vector, 3, axis=0), 1.0, JoinConfig(block=2))
    assert as_dict(table) == {("a", "b"): 1.0, ("a", "c"): 1.0, ("b", "c"): 1.0}
    assert as_dict(similar_pairs(["b", "a"], np.repeat(vector, 2, axis=0), 0.5, JoinConfig(block=2))) == {
        ("a", "b"): 1.0
    }


def test_result_does_not_depend_on_order_or_block() -> None:
    random = np.random.default_rng(1)
    vectors = unit(random.normal(size=(60, 16)) + 2 * random.normal(size=16))
    ids = [f"{n:03d}" for n in range(60)]
    expected = similar_pairs(ids, vectors, 0.8, JoinConfig(block=60))
    assert expected.num_rows > 20
    turned = random.permutation(60)
    for block in (1, 7, 64):
        assert similar_pairs([ids[k] for k in turned], vectors[turned], 0.8, JoinConfig(block=block)).equals(expected)


def test_no_vector_and_one_vector_have_no_pairs() -> None:
    assert similar_pairs([], np.empty((0, 4), np.float32), 0.9).num_rows == 0
    assert similar_pairs(["a"], unit(np.ones((1, 4))), 0.9).num_rows == 0


def test_dense_pairs_come_in_bounded_parts() -> None:
    vectors = np.repeat(unit(np.ones((1, 8))), 200, axis=0)
    parts = [len(i) for i, _, _ in pair_blocks(vectors, 0.9, JoinConfig(block=10))]
    assert sum(parts) == 200 * 199 // 2
    assert max(parts) <= 2**17


@pytest.mark.parametrize("wrong", [1.5, -2.0, float("nan")])
def test_a_threshold_that_is_no_cosine_is_refused(wrong: float) -> None:
    with pytest.raises(CaptionlakeError, match="no cosine"):
        similar_pairs(["a", "b"], unit(np.ones((2, 3))), wrong)


@pytest.mark.parametrize("wrong", [2.0, float("nan"), float("inf")])
def test_vectors_that_are_not_unit_are_refused(wrong: float) -> None:
    with pytest.raises(CaptionlakeError, match="unit length"):
        similar_pairs(["a", "b"], np.full((2, 3), wrong, np.float32), 0.9)


AddVectors = Callable[[Lake, str, list[str], Vectors], None]


@pytest.fixture
def embedded(lake: Lake, add_vectors: AddVectors) -> tuple[Lake, list[str], Vectors]:
    random = np.random.default_rng(3)
    vectors = unit(random.normal(size=(30, 16)) + 2 * random.normal(size=16))
    ids = [f"{n:064x}" for n in range(30)]
    add_vectors(lake, "random-vectors", ids, vectors)
    return lake, ids, vectors


def stored(lake: Lake) -> dict[tuple[str, str], float]:
    return {(row[0], row[1]): row[2] for row in lake.rows("SELECT image_id, other_id, similarity FROM similar_pairs")}


def test_find_pairs_stores_them_once_with_a_note(embedded: tuple[Lake, list[str], Vectors]) -> None:
    lake, ids, vectors = embedded
    counts = find_pairs(lake, "random-vectors", 0.9, JoinConfig(block=8))
    assert stored(lake) == pytest.approx(naive(ids, vectors, 0.9), abs=1e-12)
    assert (counts.images, counts.pairs, counts.new, counts.skipped) == (30, len(stored(lake)), counts.pairs, False)
    assert set(lake.rows("SELECT DISTINCT model_id, method FROM similar_pairs")) == {("random-vectors", "cosine")}
    ((step, target, detail),) = lake.rows("SELECT step, target, detail FROM runs")
    assert (step, target) == ("pairs", "random-vectors")
    assert json.loads(detail)["threshold"] == 0.9
    assert json.loads(detail)["n_images"] == 30


def test_a_lower_threshold_adds_and_a_higher_one_is_skipped(embedded: tuple[Lake, list[str], Vectors]) -> None:
    lake, ids, vectors = embedded
    first = find_pairs(lake, "random-vectors", 0.9)
    again = find_pairs(lake, "random-vectors", 0.93)
    assert again.skipped
    assert again.new == 0
    assert again.pairs == len(naive(ids, vectors, 0.93))
    lower = find_pairs(lake, "random-vectors", 0.8)
    assert not lower.skipped
    assert lower.new == lower.pairs - first.pairs > 0
    assert stored(lake) == pytest.approx(naive(ids, vectors, 0.8), abs=1e-12)


def test_another_picture_makes_it_due_again_and_another_model_is_apart(
    embedded: tuple[Lake, list[str], Vectors], add_vectors: AddVectors
) -> None:
    lake, ids, vectors = embedded
    find_pairs(lake, "random-vectors", 0.9)
    before = lake.snapshot()
    add_vectors(lake, "another", ids, vectors)
    assert pairs_complete(lake, "random-vectors", 0.9, lake.snapshot())
    assert not pairs_complete(lake, "another", 0.9, lake.snapshot())
    add_vectors(lake, "random-vectors", ["f" * 64], vectors[:1])
    assert pairs_complete(lake, "random-vectors", 0.9, before)
    assert not pairs_complete(lake, "random-vectors", 0.9, lake.snapshot())
    counts = find_pairs(lake, "random-vectors", 0.9)
    assert not counts.skipped
    assert (ids[0], "f" * 64) in stored(lake)
    assert counts.new == sum("f" * 64 in pair for pair in stored(lake))


def test_a_run_that_stops_leaves_neither_pairs_nor_note(
    embedded: tuple[Lake, list[str], Vectors], monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, _, _ = embedded
    commit = lake.commit

    def stop(change: Callable[[Any], Any]) -> Any:
        def stopped(connection: Any) -> Any:
            change(connection)
            raise KeyboardInterrupt

        return commit(stopped)

    monkeypatch.setattr(lake, "commit", stop)
    with pytest.raises(KeyboardInterrupt):
        find_pairs(lake, "random-vectors", 0.9)
    assert lake.rows("SELECT * FROM similar_pairs") == []
    assert lake.rows("SELECT * FROM runs") == []
    assert os.listdir(lake.path / "staging") == []


def test_vectors_come_as_stored(embedded: tuple[Lake, list[str], Vectors]) -> None:
    lake, ids, vectors = embedded
    with stored_vectors(lake, "random-vectors", lake.snapshot()) as (found, array):
        order = np.argsort(found)
        assert sorted(found) == ids
        assert (array[order] == vectors).all()


def test_no_embedding_is_one_line_that_says_what_to_run(lake: Lake) -> None:
    with pytest.raises(CaptionlakeError, match="captionlake embed"):
        find_pairs(lake, "nobody", 0.9)


def test_vectors_of_different_length_are_refused(lake: Lake, add_vectors: AddVectors) -> None:
    add_vectors(lake, "m", ["a"], unit(np.ones((1, 3))))
    add_vectors(lake, "m", ["b"], unit(np.ones((1, 4))))
    with pytest.raises(CaptionlakeError, match="differ in length"):
        find_pairs(lake, "m", 0.9)
