"""Groups of pictures that are nearly one: found, stored instead of their pairs, and decided as if all pairs were listed."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from captionlake.curation import groups
from captionlake.curation.cosine import exact_cosine
from captionlake.curation.duplicates import find_duplicates, find_similar
from captionlake.curation.explain import explain
from captionlake.curation.group_rows import stored_groups
from captionlake.curation.join import JoinConfig
from captionlake.curation.similarity import find_pairs
from captionlake.lake import Lake

Vectors = npt.NDArray[np.float32]
STORED = "SELECT image_id, other_id, similarity, method FROM similar_pairs"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Groups of four, so that few pictures make some."""
    monkeypatch.setattr(groups, "GROUPED", 4)
    monkeypatch.setattr(groups, "_SEEN", 2)
    monkeypatch.setattr(groups, "_FIRST", 8)
    yield


def clumps(random: np.random.Generator, n: int, spread: float, d: int = 12) -> Vectors:
    """Unit vectors around few centres, some of them twice."""
    centres = random.normal(size=(3, d))
    rows = centres[random.integers(0, 3, n)] + spread * random.normal(size=(n, d))
    for _ in range(n // 5):
        rows[random.integers(n)] = rows[random.integers(n)]
    vectors: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return vectors


def add(lake: Lake, ids: list[str], vectors: Vectors) -> None:
    column = pa.array(list(vectors), pa.list_(pa.float32()))
    table = pa.table({"image_id": ids, "model_id": ["m"] * len(ids), "vector": column})
    lake.append("embeddings", table, ["image_id", "model_id"])


def frame(lake: Lake, threshold: float) -> pl.DataFrame:
    table = pl.from_arrow(lake.arrow(f"{STORED} WHERE similarity >= ?", [threshold]))
    assert isinstance(table, pl.DataFrame)
    return table


def expected(rows: pl.DataFrame, vectors: dict[str, npt.NDArray[np.float32]], threshold: float) -> dict[str, Any]:
    """The rule, row by row: dropped keys with their keeper and cosine."""
    kept: list[dict[str, Any]] = []
    dropped = {}
    for row in sorted(rows.to_dicts(), key=lambda row: (-row["pixels"], row["image_id"], row["source_key"])):
        best = None
        for keeper in kept:
            same = keeper["image_id"] == row["image_id"]
            cosine = 1.0 if same else exact_cosine(vectors[keeper["image_id"]], vectors[row["image_id"]])
            if cosine >= threshold and (best is None or cosine > best[1]):
                best = keeper["source_key"], cosine
        if best:
            dropped[row["source_key"]] = best
        else:
            kept.append(row)
    return dropped


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32 - 1),
    steps=st.lists(st.integers(5, 40), min_size=1, max_size=3),
    spread=st.sampled_from([0.02, 0.1, 0.2]),
    asked=st.sampled_from([0.9, 0.95, 0.985]),
)
def test_duplicates_are_those_of_the_rule_though_pairs_within_groups_are_not_listed(
    small: None,
    new_lake: Callable[[Path], Lake],
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    steps: list[int],
    spread: float,
    asked: float,
) -> None:
    random = np.random.default_rng(seed)
    n = sum(steps)
    vectors, ids = clumps(random, n, spread), [f"{k:064x}" for k in random.permutation(n)]
    with new_lake(tmp_path_factory.mktemp("lake") / "lake") as lake:
        at = 0
        for step in steps:
            add(lake, ids[at : at + step], vectors[at : at + step])
            find_pairs(lake, "m", 0.9, JoinConfig(block=7))
            at += step
        rows = pl.DataFrame(
            {
                "source": ["s"] * n,
                "source_key": [f"k{k:03d}" for k in range(n)],
                "image_id": [ids[k] for k in random.integers(0, n, n)],
                "collection": ["c"] * n,
                "pixels": random.integers(1, 4, n),
            }
        )
        by_id = dict(zip(ids, vectors, strict=True))
        members = stored_groups(lake, "m", asked, lake.snapshot())
        found = find_duplicates(rows, frame(lake, asked), [], members)
        wanted = expected(rows, by_id, asked)
        assert {row["source_key"] for row in found.to_dicts()} == wanted.keys()
        for row in found.to_dicts():
            assert row["similarity"] == pytest.approx(wanted[row["source_key"]][1], abs=1e-12)
            assert row["keeper_key"] not in wanted
        half = n // 2
        like = find_similar(rows[:half], frame(lake, asked), rows[half:], members)
        near = {
            row["source_key"]: max(
                (
                    1.0
                    if row["image_id"] == o["image_id"]
                    else exact_cosine(by_id[row["image_id"]], by_id[o["image_id"]])
                )
                for o in rows[half:].to_dicts()
            )
            for row in rows[:half].to_dicts()
        }
        assert {r["source_key"]: pytest.approx(r["similarity"], abs=1e-12) for r in like.to_dicts()} == {
            key: cosine for key, cosine in near.items() if cosine >= asked
        }


def test_ten_thousand_files_of_nearly_one_picture_are_ten_thousand_rows(lake: Lake) -> None:
    random = np.random.default_rng(1)
    rows = np.concatenate(
        [random.normal(size=(1, 64)) + 0.02 * random.normal(size=(3000, 64)), random.normal(size=(500, 64))]
    )
    vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    ids = [f"{k:064x}" for k in random.permutation(len(rows))]
    add(lake, ids, vectors)
    counts = find_pairs(lake, "m", 0.95)
    assert lake.rows("SELECT method, count(*) FROM similar_pairs GROUP BY method") == [("group", 2999)]
    assert counts.pairs == 2999
    add(lake, [f"{k:064x}" for k in range(5000, 5100)], vectors[:100] * np.float32(1 - 1e-6))
    assert find_pairs(lake, "m", 0.95).compared == 100
    assert lake.value("SELECT count(DISTINCT image_id) FROM similar_pairs WHERE method = 'group'") == 1
    assert lake.value("SELECT count(*) FROM similar_pairs") == 3099


def test_all_of_a_group_that_is_similar_is_explained(
    small: None, lake: Lake, add_pictures: Any, photographs: Any
) -> None:
    ids = add_pictures(lake, dict(list(photographs.items())[:7]))
    angles = np.array([0, 0.01, 0.02, 0.03, 0.2, 0.2, 1.5])
    add(lake, ids, np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32))
    find_pairs(lake, "m", 0.95)
    assert {method for (method,) in lake.rows("SELECT DISTINCT method FROM similar_pairs")} == {"group", "same_vector"}
    for n, name in enumerate(ids):
        found = {pair.image_id: pair.similarity for pair in explain(lake, name).pairs}
        near = {other for k, other in enumerate(ids) if k != n and np.cos(angles[n] - angles[k]) >= 0.95}
        assert found.keys() == near
        assert all(
            found[ids[k]] == pytest.approx(np.cos(angles[n] - angles[k]), abs=1e-6) for k in range(7) if ids[k] in near
        )


def test_where_the_picture_that_leads_a_group_is_removed_its_members_are_compared_again(
    small: None, lake: Lake
) -> None:
    vectors = clumps(np.random.default_rng(3), 30, 0.02)
    ids = [f"{k:064x}" for k in range(30)]
    add(lake, ids, vectors)
    find_pairs(lake, "m", 0.95)
    ((leader, members),) = lake.rows(
        "SELECT image_id, count(*) FROM similar_pairs WHERE method = 'group' GROUP BY image_id ORDER BY ALL LIMIT 1"
    )
    for table, condition in (("embeddings", "image_id = ?"), ("similar_pairs", "? IN (image_id, other_id)")):
        delete = f"DELETE FROM {table} WHERE {condition}"
        lake.commit(lambda connection, delete=delete: connection.execute(delete, [leader]))  # type: ignore[misc]
    counts = find_pairs(lake, "m", 0.95)
    assert counts.compared >= members
    at = {name: vector for name, vector in zip(ids, vectors, strict=True) if name != leader}
    rows = pl.DataFrame(
        [("s", name, name, "c", 1) for name in at],
        schema=["source", "source_key", "image_id", "collection", "pixels"],
        orient="row",
    )
    found = find_duplicates(rows, frame(lake, 0.95), [], stored_groups(lake, "m", 0.95, lake.snapshot()))
    assert set(found["source_key"]) == expected(rows, at, 0.95).keys()
