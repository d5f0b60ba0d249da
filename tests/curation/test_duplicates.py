"""The rules of duplicates, on lakes that hypothesis makes up."""

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captionlake.curation.duplicates import SCHEMA, find_duplicates

ROW = {
    "source": pl.String,
    "source_key": pl.String,
    "image_id": pl.String,
    "collection": pl.String,
    "pixels": pl.Int64,
}
PAIR = {"image_id": pl.String, "other_id": pl.String, "similarity": pl.Float64}
Key = tuple[str, str]


@st.composite
def worlds(draw: st.DrawFn) -> tuple[pl.DataFrame, pl.DataFrame, list[str]]:
    """Rows, pairs at or above 0.9 and a keep_order; pictures may have several rows, and pairs may form chains."""
    pictures = draw(st.integers(1, 9))
    rows = [
        {
            "source": draw(st.sampled_from(["s", "t"])),
            "source_key": str(number),
            "image_id": f"i{draw(st.integers(0, pictures - 1))}",
            "collection": draw(st.sampled_from(["coco", "web", "sam"])),
            "pixels": draw(st.sampled_from([100, 200, 300])),
        }
        for number in range(draw(st.integers(1, 14)))
    ]
    possible = [(f"i{a}", f"i{b}") for a in range(pictures) for b in range(a + 1, pictures)]
    chosen = draw(st.lists(st.sampled_from(possible), unique=True)) if possible else []
    pairs = [(a, b, draw(st.sampled_from([0.9, 0.95, 0.97, 1.0]))) for a, b in chosen]
    order = draw(st.lists(st.sampled_from(["coco", "web", "sam", "absent"]), unique=True))
    return pl.DataFrame(rows, schema=ROW), pl.DataFrame(pairs, schema=PAIR, orient="row"), order


def similarity_of(pairs: pl.DataFrame) -> dict[frozenset[str], float]:
    return {frozenset((row["image_id"], row["other_id"])): row["similarity"] for row in pairs.iter_rows(named=True)}


def one_by_one(rows: pl.DataFrame, pairs: pl.DataFrame, order: list[str]) -> dict[Key, tuple[Key, float]]:
    """The rule as it is said: rank, then each row in turn against those kept."""
    similar = similarity_of(pairs)

    def rank(row: dict[str, Any]) -> tuple[Any, ...]:
        place = order.index(row["collection"]) if row["collection"] in order else len(order)
        return place, -row["pixels"], row["image_id"], row["source"], row["source_key"]

    kept: list[dict[str, Any]] = []
    dropped: dict[Key, tuple[Key, float]] = {}
    for row in sorted(rows.iter_rows(named=True), key=rank):
        best: tuple[Key, float] | None = None
        for keeper in kept:
            same = keeper["image_id"] == row["image_id"]
            value = 1.0 if same else similar.get(frozenset((keeper["image_id"], row["image_id"])))
            if value is not None and (best is None or value > best[1]):
                best = (keeper["source"], keeper["source_key"]), value
        if best:
            dropped[row["source"], row["source_key"]] = best
        else:
            kept.append(row)
    return dropped


def as_dict(found: pl.DataFrame) -> dict[Key, tuple[Key, float]]:
    return {
        (row["source"], row["source_key"]): ((row["keeper_source"], row["keeper_key"]), row["similarity"])
        for row in found.iter_rows(named=True)
    }


@settings(max_examples=150, deadline=None)
@given(worlds())
def test_equals_the_rule_taken_row_by_row(world: tuple[pl.DataFrame, pl.DataFrame, list[str]]) -> None:
    assert as_dict(find_duplicates(*world)) == one_by_one(*world)


@settings(max_examples=150, deadline=None)
@given(worlds(), st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8), st.sampled_from([1.0, 0.98])), max_size=8))
def test_pairs_by_hash_and_by_cosine_count_alike(
    world: tuple[pl.DataFrame, pl.DataFrame, list[str]], hashed: list[tuple[int, int, float]]
) -> None:
    """A hash that two pictures share (similarity 1 here) gives each the other's pairs by hash, and none by cosine."""
    rows, pairs, order = world
    of = list(range(9))
    for a, b, similarity in hashed:
        if similarity == 1.0:
            of = [of[a] if group == of[b] else group for group in of]
    near = {frozenset((of[a], of[b])) for a, b, similarity in hashed if similarity < 1.0}
    by_hash = [
        (f"i{a}", f"i{b}", 1.0 if of[a] == of[b] else 0.98)
        for a in range(9)
        for b in range(a)
        if of[a] == of[b] or frozenset((of[a], of[b])) in near
    ]
    stored = [
        (f"i{min(a, b)}", f"i{max(a, b)}", similarity, "same_phash" if similarity == 1.0 else "phash")
        for a, b, similarity in hashed
        if a != b
    ]
    both = {**PAIR, "method": pl.String}
    mixed = pl.concat([pairs.with_columns(method=pl.lit("cosine")), pl.DataFrame(stored, schema=both, orient="row")])
    found = find_duplicates(rows, mixed, order)
    union = pl.concat([pairs, pl.DataFrame(by_hash, schema=PAIR, orient="row")]).unique(["image_id", "other_id"])
    assert as_dict(found).keys() == one_by_one(rows, union, order).keys()
    picture = {(row["source"], row["source_key"]): row["image_id"] for row in rows.iter_rows(named=True)}
    like = {"cosine": similarity_of(pairs), "phash": {frozenset(pair[:2]): pair[2] for pair in by_hash}}
    for row in found.iter_rows(named=True):
        two = frozenset((picture[row["source"], row["source_key"]], picture[row["keeper_source"], row["keeper_key"]]))
        assert row["similarity"] == (1.0 if row["by"] == "bytes" else like[row["by"]][two])
        assert (len(two) == 1) == (row["by"] == "bytes")


@settings(max_examples=60, deadline=None)
@given(worlds())
def test_dropped_rows_are_similar_to_a_kept_one_and_kept_rows_are_not(
    world: tuple[pl.DataFrame, pl.DataFrame, list[str]],
) -> None:
    rows, pairs, order = world
    found = find_duplicates(rows, pairs, order)
    picture = {(row["source"], row["source_key"]): row["image_id"] for row in rows.iter_rows(named=True)}
    dropped = as_dict(found)
    kept = set(picture) - set(dropped)
    similar = similarity_of(pairs)
    for key, (keeper, value) in dropped.items():
        assert keeper in kept
        same = picture[key] == picture[keeper]
        assert value == (1.0 if same else similar[frozenset((picture[key], picture[keeper]))]) >= 0.9
    held = sorted(picture[key] for key in kept)
    assert len(held) == len(set(held))
    assert not any(pair <= set(held) for pair in similar)
    same_bytes = {(row["source"], row["source_key"]): row["by"] == "bytes" for row in found.iter_rows(named=True)}
    assert all(same_bytes[key] == (picture[key] == picture[keeper]) for key, (keeper, _) in dropped.items())


@settings(max_examples=40, deadline=None)
@given(worlds(), st.randoms(use_true_random=False))
def test_independent_of_the_order_of_rows_and_pairs(
    world: tuple[pl.DataFrame, pl.DataFrame, list[str]], random: Any
) -> None:
    rows, pairs, order = world
    turned_rows = rows[random.sample(range(rows.height), rows.height)]
    turned_pairs = pairs[random.sample(range(pairs.height), pairs.height)]
    assert find_duplicates(turned_rows, turned_pairs, order).equals(find_duplicates(rows, pairs, order))


@settings(max_examples=40, deadline=None)
@given(worlds(), st.sampled_from([1, 250, 10_000]))
def test_an_unrelated_picture_changes_nothing(world: tuple[pl.DataFrame, pl.DataFrame, list[str]], pixels: int) -> None:
    rows, pairs, order = world
    new = pl.DataFrame([("s", "new", "inew", "coco", pixels)], schema=ROW, orient="row")
    assert find_duplicates(pl.concat([rows, new]), pairs, order).equals(find_duplicates(rows, pairs, order))


def test_a_chain_is_not_followed() -> None:
    """A is like B, B is like C, A is not like C: B goes, C stays."""
    rows = pl.DataFrame(
        [("s", name, name, "coco", pixels) for name, pixels in (("A", 300), ("B", 200), ("C", 100))],
        schema=ROW,
        orient="row",
    )
    pairs = pl.DataFrame([("A", "B", 0.96), ("B", "C", 0.99)], schema=PAIR, orient="row")
    assert as_dict(find_duplicates(rows, pairs, [])) == {("s", "B"): (("s", "A"), 0.96)}


def test_the_named_collection_keeps_its_smaller_picture() -> None:
    rows = pl.DataFrame([("s", "big", "A", "coco", 900), ("s", "small", "B", "web", 1)], schema=ROW, orient="row")
    pairs = pl.DataFrame([("A", "B", 0.96)], schema=PAIR, orient="row")
    assert as_dict(find_duplicates(rows, pairs, ["web"])) == {("s", "big"): (("s", "small"), 0.96)}
    assert as_dict(find_duplicates(rows, pairs, [])) == {("s", "small"): (("s", "big"), 0.96)}


def test_pairs_of_pictures_that_are_not_there_do_nothing() -> None:
    rows = pl.DataFrame([("s", "1", "A", "coco", 900)], schema=ROW, orient="row")
    pairs = pl.DataFrame([("A", "gone", 0.99)], schema=PAIR, orient="row")
    assert find_duplicates(rows, pairs, []).is_empty()


@pytest.mark.parametrize("height", [0, 3])
def test_nothing_similar_gives_an_empty_frame_of_the_same_shape(height: int) -> None:
    rows = pl.DataFrame([("s", str(n), f"i{n}", "coco", 1) for n in range(height)], schema=ROW, orient="row")
    found = find_duplicates(rows, pl.DataFrame(schema=PAIR), [])
    assert found.schema == pl.Schema(SCHEMA)
    assert found.is_empty()
