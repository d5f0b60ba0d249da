"""Selection: every row once, quotas, order of reasons, stability, and what it refuses."""

import hashlib
import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from captionlake.curation.selection import Quota, SelectConfig, Selection, select
from captionlake.curation.similarity import find_pairs
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake

RowMaker = Callable[[Lake, list[dict[str, Any]]], None]
MODEL = "random-vectors"


def keys(frame: pl.DataFrame) -> list[tuple[str, str]]:
    return list(frame.select("source", "source_key").iter_rows())


def reasons(selection: Selection) -> dict[str, str]:
    return dict(selection.exclusions.select("source_key", "reason").iter_rows())


def rows_of(collection: str, count: int, **columns: Any) -> list[dict[str, Any]]:
    return [{"source_key": f"{collection}-{n}", "collection": collection, **columns} for n in range(count)]


def check_partition(lake: Lake, selection: Selection) -> None:
    taken, left = keys(selection.items), keys(selection.exclusions)
    assert len(set(taken)) == len(taken)
    assert len(set(left)) == len(left)
    assert not set(taken) & set(left)
    everything = lake.rows(f"SELECT source, source_key FROM images AT (VERSION => {selection.snapshot})")
    assert set(taken) | set(left) == set(everything)


def test_everything_is_taken_without_a_quota(lake: Lake, add_rows: RowMaker) -> None:
    add_rows(lake, rows_of("coco", 3) + rows_of("web", 2))
    selection = select(lake, SelectConfig(), model_id=None)
    check_partition(lake, selection)
    assert selection.items.height == 5
    assert selection.quotas.rows() == [("coco", None, None, 3, 3, 0, 0, 0), ("web", None, None, 2, 2, 0, 0, 0)]


def test_a_benchmarks_picture_is_left_out_before_keepers_are_chosen(lake: Lake, add_rows: RowMaker) -> None:
    """Of two rows of the same bytes both go; with decontaminate = false neither goes for it."""
    add_rows(lake, [*rows_of("coco", 2, image="shown"), *rows_of("web", 1)])
    shown = hashlib.sha256(b"shown").hexdigest()
    lake.commit(
        lambda connection: connection.execute(
            "INSERT INTO contamination BY NAME SELECT ? AS image_id, unnest(['mme', 'mmbench']) AS benchmark, 'index 7' AS item",
            [shown],
        )
    )
    selection = select(lake, SelectConfig(), model_id=None)
    check_partition(lake, selection)
    assert keys(selection.items) == [("made", "web-0")]
    assert reasons(selection) == {"coco-0": "contaminated", "coco-1": "contaminated"}
    assert selection.exclusions["detail"].to_list() == ["shows index 7 of mmbench"] * 2
    assert selection.exclusions["keeper_key"].null_count() == 2
    kept = select(lake, SelectConfig(decontaminate=False), model_id=None)
    assert reasons(kept) == {"coco-1": "duplicate"}
    before = select(lake, SelectConfig(), model_id=None, snapshot=lake.snapshot() - 1)
    assert reasons(before) == {"coco-1": "duplicate"}


def test_an_empty_lake_gives_empty_frames_of_the_same_columns(lake: Lake, add_rows: RowMaker) -> None:
    empty = select(lake, SelectConfig(), model_id=None)
    add_rows(lake, rows_of("coco", 1))
    one = select(lake, SelectConfig(), model_id=None)
    assert empty.items.schema == one.items.schema
    assert empty.exclusions.schema == one.exclusions.schema
    assert empty.quotas.schema == one.quotas.schema
    assert empty.items.is_empty()


def test_the_first_reason_that_holds_is_the_one_recorded(lake: Lake, add_rows: RowMaker) -> None:
    add_rows(
        lake,
        [
            {"source_key": "small-and-uncaptioned", "collection": "sam", "width": 10},
            {"source_key": "no-quota", "collection": "sam"},
            {"source_key": "no-caption", "collection": "coco"},
            {"source_key": "best", "collection": "coco", "width": 800, "image": "x"},
            {"source_key": "copy", "collection": "coco", "image": "x"},
            {"source_key": "other", "collection": "coco", "image": "y"},
        ],
    )
    caption(lake, ["best", "copy", "other"])
    config = SelectConfig(where="width >= 100", quota=(Quota(collection="coco", count=1),))
    selection = select(lake, config, model_id=None, captioned_by="source")
    check_partition(lake, selection)
    found = reasons(selection)
    assert found.pop("small-and-uncaptioned") == "predicate"
    assert found.pop("no-quota") == "no_quota"
    assert found.pop("no-caption") == "no_caption"
    assert found.pop("copy") == "duplicate"
    assert list(found.values()) == ["over_quota"]
    by_key = {row["source_key"]: row for row in selection.exclusions.iter_rows(named=True)}
    assert by_key["small-and-uncaptioned"]["detail"] == "width >= 100"
    copy = by_key["copy"]
    assert (copy["keeper_key"], copy["similarity"], copy["detail"]) == ("best", 1.0, "same bytes")


def caption(lake: Lake, source_keys: list[str], *, by_picture: bool = False) -> None:
    """A caption each: of the row (a source's own text), or of the picture alone (a teacher's)."""
    source, key = ("NULL", "NULL") if by_picture else ("source", "source_key")
    lake.commit(
        lambda connection: connection.execute(
            f"""INSERT INTO captions BY NAME SELECT uuid()::VARCHAR AS caption_id, image_id, {source} AS source,
            {key} AS source_key, 'alt' AS kind, 'source' AS producer, 'made up' AS text, 7 AS chars, 2 AS words,
            now() AS created_at FROM images WHERE list_contains(?::VARCHAR[], source_key)""",
            [source_keys],
        ).fetchone()
    )


def test_a_text_of_one_row_does_not_caption_another_row_of_the_picture(lake: Lake, add_rows: RowMaker) -> None:
    add_rows(lake, [{"source_key": name, "image": "x"} for name in ("a", "b")] + [{"source_key": "c", "image": "z"}])
    caption(lake, ["a"])
    selection = select(lake, SelectConfig(), model_id=None, captioned_by="source")
    assert reasons(selection) == {"b": "no_caption", "c": "no_caption"}
    caption(lake, ["c"], by_picture=True)
    assert reasons(select(lake, SelectConfig(), model_id=None, captioned_by="source")) == {"b": "no_caption"}
    assert set(reasons(select(lake, SelectConfig(), model_id=None, captioned_by="else")).values()) == {"no_caption"}


def test_a_null_condition_leaves_out(lake: Lake, add_rows: RowMaker) -> None:
    add_rows(lake, [{"source_key": "a", "subset": "landmark"}, {"source_key": "b", "subset": None}])
    selection = select(lake, SelectConfig(where="subset = 'landmark'"), model_id=None)
    assert reasons(selection) == {"b": "predicate"}


def test_a_condition_reads_other_tables_at_the_same_snapshot(lake: Lake, add_rows: RowMaker) -> None:
    add_rows(lake, [{"source_key": "a"}, {"source_key": "b"}])
    before = lake.snapshot()
    caption(lake, ["a"])
    config = SelectConfig(where="image_id IN (SELECT image_id FROM captions)")
    assert select(lake, config, model_id=None, snapshot=before).items.is_empty()
    assert keys(select(lake, config, model_id=None).items) == [("made", "a")]


@pytest.mark.parametrize("table", ["lake.captions", "lake.main.captions", "captions AT (VERSION => 1)"])
def test_a_condition_reads_no_other_snapshot(lake: Lake, table: str) -> None:
    with pytest.raises(CaptionlakeError, match="name it alone"):
        select(lake, SelectConfig(where=f"image_id IN (SELECT image_id FROM {table})"), model_id=None)


@pytest.mark.parametrize(
    "where", ["widht > 3", "width >", "true) OR (true", "1; DROP TABLE images", "random() < 0.5", "source_key"]
)
def test_a_wrong_condition_is_one_line(lake: Lake, add_rows: RowMaker, where: str) -> None:
    add_rows(lake, [{"source_key": "a"}])
    with pytest.raises(CaptionlakeError) as caught:
        select(lake, SelectConfig(where=where), model_id=None)
    assert "\n" not in str(caught.value)


def test_a_snapshot_that_is_not_there_is_one_line(lake: Lake) -> None:
    with pytest.raises(CaptionlakeError, match="snapshot 99"):
        select(lake, SelectConfig(), model_id=None, snapshot=99)


def test_a_selection_of_an_old_snapshot_never_changes(lake: Lake, add_rows: RowMaker) -> None:
    add_rows(lake, rows_of("coco", 20))
    config = SelectConfig(seed=7, quota=(Quota(collection="coco", count=5),))
    first = select(lake, config, model_id=None)
    add_rows(lake, rows_of("web", 20))
    again = select(lake, config, model_id=None, snapshot=first.snapshot)
    assert again.items.equals(first.items)
    assert again.exclusions.equals(first.exclusions)
    assert again.quotas.equals(first.quotas)


def test_the_order_within_a_quota_is_as_documented(lake: Lake, add_rows: RowMaker) -> None:
    made = [{"source": source, "source_key": f"ключ:{n}", "collection": "c"} for source in "sé" for n in range(20)]
    add_rows(lake, made)
    config = SelectConfig(seed=-3, quota=(Quota(collection="c", count=11),))

    def ticket(row: dict[str, Any]) -> str:
        source, key = row["source"], row["source_key"]
        return hashlib.sha256(f"-3:{len(source.encode())}:{source}:{key}".encode()).hexdigest()

    expected = sorted((row["source"], row["source_key"]) for row in sorted(made, key=ticket)[:11])
    assert sorted(keys(select(lake, config, model_id=None).items)) == expected
    other = SelectConfig(seed=4, quota=(Quota(collection="c", count=11),))
    assert sorted(keys(select(lake, other, model_id=None).items)) != expected


def test_a_split_takes_its_shares_and_nothing_else(lake: Lake, add_rows: RowMaker) -> None:
    add_rows(
        lake, [{"source_key": f"{s}-{n}", "subset": s} for s in ("landmark", "celebrity", "style") for n in range(5)]
    )
    add_rows(lake, [{"source_key": "none", "subset": None}])
    quota = Quota(collection="web", count=3, split={"landmark": 2, "celebrity": 1})
    selection = select(lake, SelectConfig(quota=(quota,)), model_id=None)
    check_partition(lake, selection)
    assert selection.items["subset"].value_counts(sort=True).rows() == [("landmark", 2), ("celebrity", 1)]
    assert selection.quotas.rows() == [("web", "landmark", 2, 5, 2, 0, 0, 0), ("web", "celebrity", 1, 5, 1, 0, 0, 0)]
    left = selection.exclusions.filter(pl.col("reason") == "no_quota")
    assert left.height == 6
    assert left.filter(pl.col("source_key") == "none")["detail"].item() == (
        "the split of web has no share for subset (none)"
    )
    full = selection.exclusions.filter(pl.col("reason") == "over_quota")["detail"].to_list()
    assert sorted(full) == [
        *(f"the quota of 1 for web/celebrity is full; place {place} in line" for place in (1, 2, 3, 4)),
        *(f"the quota of 2 for web/landmark is full; place {place} in line" for place in (1, 2, 3)),
    ]


def test_a_shortfall_names_each_quota_or_is_reported(lake: Lake, add_rows: RowMaker) -> None:
    add_rows(lake, rows_of("coco", 3) + rows_of("sam", 1) + rows_of("web", 1, subset="style"))
    quotas = (
        Quota(collection="coco", count=5),
        Quota(collection="web", count=2, split={"landmark": 2}),
        Quota(collection="sam", count="all"),
        Quota(collection="wikiarts", count=1),
        Quota(collection="coca", count="all"),
    )
    with pytest.raises(CaptionlakeError) as caught:
        select(lake, SelectConfig(quota=quotas), model_id=None)
    assert str(caught.value).startswith(
        "quotas not met: wikiarts is no collection of the lake; coca is no collection of the lake, did you mean coco?; "
        "coco has 3 of 5 (2 short); web/landmark has 0 of 2 (2 short): add images"
    )
    selection = select(lake, SelectConfig(quota=quotas, shortfall="report"), model_id=None)
    assert selection.quotas.rows() == [
        ("coco", None, 5, 3, 3, 0, 0, 2),
        ("web", "landmark", 2, 0, 0, 0, 0, 2),
        ("sam", None, None, 1, 1, 0, 0, 0),
        ("wikiarts", None, 1, 0, 0, 0, 0, 1),
        ("coca", None, None, 0, 0, 0, 0, 0),
    ]


# Duplicates by embedding


def similar_vectors(cosines: list[float]) -> Any:
    """The first vector, and one at each cosine to it, each in a plane of its own."""
    d = len(cosines) + 1
    rows = [np.eye(d)[0]] + [c * np.eye(d)[0] + np.sqrt(1 - c * c) * np.eye(d)[n + 1] for n, c in enumerate(cosines)]
    return np.array(rows, dtype=np.float32)


def ids_of(lake: Lake, source_keys: list[str]) -> list[str]:
    found = dict(lake.rows("SELECT source_key, image_id FROM images"))
    return [found[key] for key in source_keys]


def test_near_duplicates_are_dropped_with_their_keeper(lake: Lake, add_rows: RowMaker, add_vectors: Any) -> None:
    add_rows(lake, [{"source_key": k, "collection": c} for k, c in (("a", "coco"), ("b", "web"), ("c", "web"))])
    add_vectors(lake, MODEL, ids_of(lake, ["a", "b", "c"]), similar_vectors([0.97, 0.90]))
    find_pairs(lake, MODEL, 0.85)
    config = SelectConfig(duplicate_threshold=0.95, keep_order=("web",))
    selection = select(lake, config, model_id=MODEL)
    check_partition(lake, selection)
    (dropped,) = selection.exclusions.iter_rows(named=True)
    assert (dropped["source_key"], dropped["reason"], dropped["keeper_key"]) == ("a", "duplicate", "b")
    assert dropped["similarity"] == pytest.approx(0.97, abs=1e-6)
    assert dropped["detail"] == f"cosine by {MODEL}"
    lower = select(lake, SelectConfig(duplicate_threshold=0.85), model_id=MODEL)
    assert reasons(lower) == {"b": "duplicate", "c": "duplicate"}


def test_a_row_that_is_out_drops_no_other(lake: Lake, add_rows: RowMaker, add_vectors: Any) -> None:
    """Keepers are among the rows that may be taken: an image that the condition refuses is nobody's keeper."""
    add_rows(lake, [{"source_key": "huge", "width": 9000}, {"source_key": "fit", "width": 500}])
    add_vectors(lake, MODEL, ids_of(lake, ["huge", "fit"]), similar_vectors([0.99]))
    find_pairs(lake, MODEL, 0.9)
    assert reasons(select(lake, SelectConfig(duplicate_threshold=0.9), model_id=MODEL)) == {"fit": "duplicate"}
    config = SelectConfig(duplicate_threshold=0.9, where="width < 1000")
    assert reasons(select(lake, config, model_id=MODEL)) == {"huge": "predicate"}


def test_missing_embeddings_and_missing_pairs_are_refused(lake: Lake, add_rows: RowMaker, add_vectors: Any) -> None:
    add_rows(lake, [{"source_key": "a"}, {"source_key": "b"}])
    config = SelectConfig(duplicate_threshold=0.95)
    with pytest.raises(CaptionlakeError, match="no model"):
        select(lake, config, model_id=None)
    ids = ids_of(lake, ["a", "b"])
    add_vectors(lake, MODEL, ids[:1], similar_vectors([0.5])[:1])
    with pytest.raises(CaptionlakeError, match=r"^1 pictures have no embedding .* captionlake embed"):
        select(lake, config, model_id=MODEL)
    add_vectors(lake, MODEL, ids[1:], similar_vectors([0.5])[1:])
    with pytest.raises(CaptionlakeError, match=r"captionlake dedupe --threshold 0\.95"):
        select(lake, config, model_id=MODEL)
    find_pairs(lake, MODEL, 0.97)
    with pytest.raises(CaptionlakeError, match="captionlake dedupe"):
        select(lake, config, model_id=MODEL)
    find_pairs(lake, MODEL, 0.95)
    assert select(lake, config, model_id=MODEL).items.height == 2


# Properties of quotas

_rows = st.lists(
    st.tuples(
        st.sampled_from(["coco", "web", "sam"]),
        st.sampled_from([None, "landmark", "style"]),
        st.sampled_from(["p", "q", None]),
    ),
    max_size=25,
)
_counter = itertools.count()


def made_rows(rows: list[tuple[str, str | None, str | None]]) -> list[dict[str, Any]]:
    return [
        {"source_key": str(n), "collection": collection, "subset": subset, "image": image or f"own-{n}"}
        for n, (collection, subset, image) in enumerate(rows)
    ]


@pytest.fixture(scope="module")
def module_lake() -> Any:
    """One lake for the examples of a property, emptied for each: making a lake takes longer than an example."""
    with tempfile.TemporaryDirectory() as folder, Lake.init(Path(folder) / "lake") as lake:
        yield lake


@settings(max_examples=15, deadline=None)
@given(rows=_rows, coco=st.integers(0, 8), landmark=st.integers(0, 4), seed=st.integers(-5, 5))
def test_quotas_partition_the_lake_and_adding_a_row_displaces_little(
    module_lake: Lake,
    add_rows_module: RowMaker,
    rows: list[tuple[str, str | None, str | None]],
    coco: int,
    landmark: int,
    seed: int,
) -> None:
    lake = module_lake
    lake.commit(lambda connection: connection.execute("DELETE FROM images").fetchone())
    config = SelectConfig(
        seed=seed,
        keep_order=("web", "coco"),
        shortfall="report",
        quota=(
            Quota(collection="coco", count=coco),
            Quota(collection="web", count=landmark, split={"landmark": landmark}),
        ),
    )
    if rows:
        add_rows_module(lake, made_rows(rows))
    before = select(lake, config, model_id=None)
    check_partition(lake, before)
    for row in before.quotas.iter_rows(named=True):
        taken = before.items.filter(pl.col("collection") == row["collection"])
        assert row["taken"] == taken.height == min(row["wanted"], row["available"])
        assert row["shortfall"] == row["wanted"] - row["taken"]
        assert row["subset"] is None or set(taken["subset"]) <= {row["subset"]}
    assert before.items["image_id"].is_unique().all()

    # a new picture of its own displaces at most one row: the last of its quota
    add_rows_module(lake, [{"source_key": f"new-{next(_counter)}", "collection": "coco", "width": 99}])
    after = select(lake, config, model_id=None)
    check_partition(lake, after)
    lost = set(keys(before.items)) - set(keys(after.items))
    gained = set(keys(after.items)) - set(keys(before.items))
    assert all(key[1].startswith("new-") for key in gained)
    assert len(lost) <= len(gained) <= 1


@pytest.fixture(scope="module")
def add_rows_module() -> RowMaker:
    """``add_rows`` for a lake of the module."""

    def add(lake: Lake, rows: list[dict[str, Any]]) -> None:
        frame = pl.DataFrame(
            [
                {
                    "source": "made",
                    "subset": None,
                    "width": 640,
                    "image_id": hashlib.sha256(row.get("image", row["source_key"]).encode()).hexdigest(),
                    **{name: value for name, value in row.items() if name != "image"},
                }
                for row in rows
            ],
            infer_schema_length=None,
        )
        with lake.registered(_new=frame.to_arrow()):
            lake.commit(
                lambda connection: connection.execute(
                    "INSERT INTO images BY NAME SELECT *, 480 AS height, 'jpeg' AS format, 1 AS orientation, 1 AS n_bytes, "
                    '0 AS phash, \'none\' AS shard, 0 AS "row", 0 AS "offset", now() AS ingested_at FROM _new'
                ).fetchone()
            )

    return add


# The [select] table


@pytest.mark.parametrize(
    ("table", "where"),
    [
        ({"seeds": 1}, "seeds"),
        ({"seed": True}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"where": "  "}, "where"),
        ({"duplicate_threshold": 0}, "duplicate_threshold"),
        ({"duplicate_threshold": 1.2}, "duplicate_threshold"),
        ({"keep_order": ["a", "b", "a"]}, "keep_order"),
        ({"shortfall": "ignore"}, "shortfall"),
        ({"quota": [{"collection": "a", "count": -1}]}, "count"),
        ({"quota": [{"collection": "a", "count": "some"}]}, "count"),
        ({"quota": [{"collection": "a", "count": True}]}, "count"),
        ({"quota": [{"collection": "a", "count": 3, "split": {"x": 1}}]}, "quota"),
        ({"quota": [{"collection": "a", "count": "all", "split": {"x": 1}}]}, "quota"),
        ({"quota": [{"collection": "a", "count": 1}, {"collection": "a", "count": 2}]}, "quota"),
        ({"quota": [{"collection": "a", "count": 1, "subset": "x"}]}, "subset"),
        ({"quota": [{"collection": "a"}]}, "quota"),
        ({"quota": [{"collection": "a", "count": 1, "weight": 1}]}, "quota"),
        ({"quota": [{"collection": "a", "weight": 0}], "total": 1}, "weight"),
        ({"quota": [{"collection": "a", "count": 1, "order": " "}]}, "order"),
        ({"quota": [{"collection": "a", "count": 1, "backfill": "a"}]}, "quota"),
        ({"quota": [{"collection": "a", "count": 1, "part": [{"count": 1}]}]}, "part"),
        ({"quota": [{"collection": "a", "count": 2, "part": [{"subset": "x", "count": 1}]}]}, "quota"),
        ({"quota": [{"collection": "a", "count": "all", "part": [{"subset": "x", "count": 1}]}]}, "quota"),
        (
            {"quota": [{"collection": "a", "count": 1, "split": {"x": 1}, "part": [{"subset": "x", "count": 1}]}]},
            "quota",
        ),
        ({"include": ["first"]}, "include"),
        ({"exclude": ["first 1.0.0"]}, "exclude"),
    ],
)
def test_a_wrong_table_is_refused_where_it_is_wrong(table: dict[str, Any], where: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(SelectConfig).validate_python(table)
    assert any(where in problem["loc"] for problem in caught.value.errors())


def test_all_problems_are_found_at_once() -> None:
    table = {
        "seed": "x",
        "colour": 1,
        "keep_order": ["a", "a"],
        "quota": [{"collection": "a", "count": 1, "split": {}}],
    }
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(SelectConfig).validate_python(table)
    assert {problem["loc"][0] for problem in caught.value.errors()} == {"seed", "colour", "keep_order", "quota"}


def test_a_good_table_is_taken() -> None:
    table = {
        "seed": 42,
        "duplicate_threshold": 1,
        "keep_order": ["web"],
        "quota": [
            {"collection": "coco", "count": "all"},
            {"collection": "web", "count": 3, "split": {"a": 1, "b": 2}},
        ],
    }
    config = TypeAdapter(SelectConfig).validate_python(table)
    assert config.quota[1].split == {"a": 1, "b": 2}
    assert config.quota[0].count == "all"
