"""Pictures of one vector stand together, in the lake and where duplicates are decided."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captionlake.curation import similarity
from captionlake.curation.cosine import exact_cosine
from captionlake.curation.duplicates import find_duplicates
from captionlake.curation.folding import fold
from captionlake.curation.join import JoinConfig, pair_blocks
from captionlake.curation.similarity import find_pairs
from captionlake.lake import Lake

Vectors = npt.NDArray[np.float32]
AddVectors = Callable[[Lake, str, list[str], Vectors], None]
PAIRS = {"image_id": pl.String, "other_id": pl.String, "similarity": pl.Float64}


def made(random: np.random.Generator, n: int, copies: int, d: int = 6) -> Vectors:
    """``n`` unit vectors in few dimensions, so that many are near, with so many of them copies of others."""
    rows = random.normal(size=(n, d)) + 1.5
    for _ in range(copies):
        rows[random.integers(n)] = rows[random.integers(n)]
    vectors: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return vectors


def greedy(
    rows: pl.DataFrame, near: dict[tuple[str, str], float], keep_order: list[str]
) -> dict[str, tuple[str, float]]:
    """The rule itself, row by row: dropped keys with their keeper and cosine."""

    def rank(row: dict[str, object]) -> tuple[object, ...]:
        at = keep_order.index(str(row["collection"])) if row["collection"] in keep_order else len(keep_order)
        return at, -int(str(row["pixels"])), row["image_id"], row["source"], row["source_key"]

    kept: list[dict[str, object]] = []
    dropped: dict[str, tuple[str, float]] = {}
    for row in sorted(rows.to_dicts(), key=rank):
        alike = [
            (
                1.0
                if other["image_id"] == row["image_id"]
                else near.get((str(row["image_id"]), str(other["image_id"])), 0.0),
                -n,
            )
            for n, other in enumerate(kept)
        ]
        cosine, place = max(alike, default=(0.0, 0))
        if cosine:
            dropped[row["source_key"]] = (str(kept[-place]["source_key"]), cosine)
        else:
            kept.append(row)
    return dropped


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 25), copies=st.integers(0, 25), rows=st.integers(1, 40))
def test_keepers_are_those_of_the_rule_with_all_pairs(seed: int, n: int, copies: int, rows: int) -> None:
    random = np.random.default_rng(seed)
    vectors, ids, threshold = made(random, n, copies), [f"p{k:02d}" for k in range(n)], 0.97
    table = pl.DataFrame(
        {
            "source": ["s"] * rows,
            "source_key": [f"k{k:02d}" for k in range(rows)],
            "image_id": [ids[k] for k in random.integers(0, n, rows)],
            "collection": [str(c) for c in random.choice(["a", "b", "c"], rows)],
            "pixels": random.integers(1, 3, rows),
        }
    )
    near = {}
    for a in range(n):
        for b in range(n):
            if a != b and (cosine := exact_cosine(vectors[a], vectors[b])) >= threshold:
                near[ids[a], ids[b]] = cosine
    stands, members, leaders = fold(ids, vectors, np.zeros(n, dtype=bool))
    stored = [
        (ids[leader], ids[member], 1.0, "same_vector") for leader, member in zip(leaders, members, strict=True)
    ] + [
        (ids[a], ids[b], near[ids[a], ids[b]], "cosine")
        for a in stands
        for b in stands
        if a < b and (ids[a], ids[b]) in near
    ]
    pairs = pl.DataFrame(stored, schema={**PAIRS, "method": pl.String}, orient="row")
    found = find_duplicates(table, pairs, ["b", "a"])
    expected = greedy(table, near, ["b", "a"])
    assert {row["source_key"] for row in found.to_dicts()} == expected.keys()
    for row in found.to_dicts():
        assert row["similarity"] == pytest.approx(expected[row["source_key"]][1], abs=1e-12)
        kept = table.filter(pl.col("source_key") == row["keeper_key"])["image_id"][0]
        own = table.filter(pl.col("source_key") == row["source_key"])["image_id"][0]
        assert (row["by"] == "bytes") == (kept == own)
        assert row["keeper_key"] not in expected


def test_a_group_stands_behind_its_known_picture_of_the_least_id() -> None:
    vectors = made(np.random.default_rng(0), 3, 0)
    rows = vectors[[0, 1, 0, 0, 2, 1]]
    stands, members, leaders = fold(["e", "d", "c", "f", "b", "a"], rows, np.array([1, 0, 0, 1, 0, 0], bool))
    assert stands.tolist() == [0, 4, 5]
    assert dict(zip(members.tolist(), leaders.tolist(), strict=True)) == {2: 0, 3: 0, 1: 5}


def groups(lake: Lake) -> tuple[set[frozenset[str]], dict[frozenset[str], float]]:
    """(groups of one vector, pairs between such groups) as the lake has them."""
    group: dict[str, frozenset[str]] = {}
    rows = lake.rows("SELECT image_id, other_id, method, similarity FROM similar_pairs")
    for one, other, method, cosine in rows:
        if method == "same_vector":
            assert cosine == 1.0
            whole = group.get(one, frozenset([one])) | group.get(other, frozenset([other]))
            group.update(dict.fromkeys(whole, whole))
    pairs = {}
    for one, other, method, cosine in rows:
        if method == "cosine":
            pairs[frozenset([group.get(one, frozenset([one])), group.get(other, frozenset([other]))])] = cosine
    return set(group.values()), pairs  # type: ignore[return-value]


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), steps=st.lists(st.integers(1, 12), min_size=2, max_size=4))
def test_pictures_that_come_later_are_compared_as_if_all_came_at_once(
    new_lake: Callable[[Path], Lake], tmp_path_factory: pytest.TempPathFactory, seed: int, steps: list[int]
) -> None:
    random = np.random.default_rng(seed)
    total = sum(steps)
    vectors, ids = made(random, total, total // 2), [f"{k:064x}" for k in random.permutation(total)]
    whole, grown = (new_lake(tmp_path_factory.mktemp("lake") / name) for name in ("whole", "grown"))
    with whole, grown:
        _add(whole, ids, vectors)
        find_pairs(whole, "m", 0.97, JoinConfig(block=5))
        at = 0
        for step in steps:
            _add(grown, ids[at : at + step], vectors[at : at + step])
            counts = find_pairs(grown, "m", 0.97, JoinConfig(block=5))
            assert counts.compared == step
            at += step
        assert groups(grown) == groups(whole)


def test_pictures_that_vanished_do_not_make_the_others_due(lake: Lake) -> None:
    vectors, ids = made(np.random.default_rng(4), 20, 5), [f"{k:064x}" for k in range(20)]
    _add(lake, ids[:15], vectors[:15])
    find_pairs(lake, "m", 0.97)
    lake.commit(lambda connection: connection.execute("DELETE FROM embeddings WHERE image_id = ?", [ids[3]]))
    lake.commit(
        lambda connection: connection.execute("DELETE FROM similar_pairs WHERE ? IN (image_id, other_id)", [ids[3]])
    )
    _add(lake, ids[15:], vectors[15:])
    assert find_pairs(lake, "m", 0.97).compared == 5
    assert find_pairs(lake, "m", 0.97).skipped


def test_a_thousand_files_of_one_placeholder_are_a_thousand_rows(lake: Lake) -> None:
    vectors = made(np.random.default_rng(1), 50, 0, d=64)
    _add(lake, [f"{k:064x}" for k in range(1050)], np.concatenate([np.repeat(vectors[:1], 1000, axis=0), vectors]))
    counts = find_pairs(lake, "m", 0.999)
    assert lake.value("SELECT count(*) FROM similar_pairs WHERE method = 'same_vector'") == 1000
    assert counts.pairs == counts.new == 1000 + lake.value("SELECT count(*) FROM similar_pairs WHERE method = 'cosine'")
    assert counts.pairs < 1100


def test_on_too_little_memory_smaller_blocks_are_taken(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    vectors, ids = made(np.random.default_rng(4), 30, 0), [f"{k:064x}" for k in range(30)]
    _add(lake, ids, vectors)
    sides: list[int] = []

    def short(vectors: Vectors, threshold: float, config: JoinConfig, **told: object) -> object:
        sides.append(config.side())
        yield from pair_blocks(vectors, threshold, config, **told)  # type: ignore[arg-type]
        if config.side() > 512:
            raise MemoryError

    monkeypatch.setattr(similarity, "pair_blocks", short)
    counts = find_pairs(lake, "m", 0.97)
    assert sides == [2048, 1024, 512]
    assert "memory is short: comparing again by blocks of 512 pictures" in caplog.text
    near = sum(exact_cosine(vectors[a], vectors[b]) >= 0.97 for a in range(30) for b in range(a))
    assert counts.pairs == near


def _add(lake: Lake, ids: list[str], vectors: Vectors) -> None:
    import pyarrow as pa

    column = pa.array(list(vectors), pa.list_(pa.float32()))
    table = pa.table({"image_id": ids, "model_id": ["m"] * len(ids), "vector": column})
    lake.append("embeddings", table, ["image_id", "model_id"])
