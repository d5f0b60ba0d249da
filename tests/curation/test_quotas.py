"""Quotas of every kind against a plain reading of what docs/selection.md says, row by row."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from captionlake.curation.proof import prove
from captionlake.curation.quota_tree import leaves, shares
from captionlake.curation.select_config import Part, Quota, SelectConfig
from captionlake.curation.select_plan import shortfall_lines, shortfalls
from captionlake.curation.selection import Selection, select
from captionlake.curation.similarity import find_pairs
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.query import run_query
from captionlake.lake.releases.config import ReleaseConfig
from captionlake.lake.releases.release import Draft, create_release

RowMaker = Callable[[Lake, list[dict[str, Any]]], None]


def keys(frame: pl.DataFrame) -> list[str]:
    return sorted(frame["source_key"])


def rows_of(collection: str, count: int, **columns: Any) -> list[dict[str, Any]]:
    return [{"source_key": f"{collection}-{n:02d}", "collection": collection, **columns} for n in range(count)]


def release(lake: Lake, name: str, selection: Selection, recipe: str = "") -> str:
    """A release of what was chosen; without [select], each collection is its own pool."""
    items = selection.items.select("source", "source_key", "image_id").with_columns(split=pl.lit("train")).to_arrow()
    draft = Draft(
        config=ReleaseConfig(name=name, version="1.0.0"),
        recipe=recipe,
        snapshot=selection.snapshot,
        items=items,
        exclusions=selection.exclusions.to_arrow(),
        producers=["source"],
    )
    create_release(lake, draft)
    return f"{name}@1.0.0"


# Shares


@given(st.integers(0, 10_000), st.lists(st.floats(0.001, 1000), min_size=1, max_size=8))
def test_shares_add_up_and_each_is_its_quotient_rounded(total: int, weights: list[float]) -> None:
    found = [share for share in shares(total, [None] * len(weights), list(weights)) if share is not None]
    assert sum(found) == total
    whole = sum(Fraction(weight) for weight in weights)
    for share, weight in zip(found, weights, strict=True):
        assert abs(share - total * Fraction(weight) / whole) < 1
    assert sorted(found, key=lambda n: -n) == [
        share for _, share in sorted(zip(weights, found, strict=True), key=lambda w: (-w[0], -w[1]))
    ]


def test_counts_come_first_and_weights_share_the_rest() -> None:
    assert shares(10, [4, None, None], [None, 1, 1]) == [4, 3, 3]
    assert shares(10, [None, None, None], [1, 1, 1]) == [4, 3, 3]
    assert shares(None, [4, None], [None, None]) == [4, None]
    assert shares(3, [3, None], [None, 5]) == [3, 0]


def test_parts_of_parts_share_in_turn() -> None:
    web = Quota(
        collection="web",
        weight=1,
        part=(
            Part(
                subset="landmark",
                weight=1,
                part=(Part(name="wide", where="width > 5", weight=1), Part(subset="landmark", weight=3)),
            ),
            Part(where="true", weight=1),
        ),
    )
    config = SelectConfig(total=50, quota=(Quota(collection="coco", count=10), web))
    assert [(leaf.name, leaf.wanted) for leaf in leaves(config)] == [
        ("coco", 10),
        ("web/landmark/wide", 5),
        ("web/landmark/landmark", 15),
        ("web/part 2", 20),
    ]


# The plain reading


def matches(part: Part, row: dict[str, Any]) -> bool:
    """Conditions of these tests are ``width >= N`` alone."""
    if part.subset is not None and row["subset"] != part.subset:
        return False
    return part.where is None or row["width"] >= int(part.where.removeprefix("width >= "))


def by_hand(
    rows: list[dict[str, Any]], config: SelectConfig, earlier: set[str]
) -> tuple[dict[str, str | None], Counter[str]]:
    """What is taken, with the collection for which it was backfilled; and the shortfall of each quota."""

    def ticket(row: dict[str, Any]) -> tuple[Any, ...]:
        order = -row["width"] if config.order == "width DESC" else 0
        digest = hashlib.sha256(f"{config.seed}:4:made:{row['source_key']}".encode()).hexdigest()
        return (row["source_key"] not in earlier, order, digest)

    def cells(
        parts: Any, wanted: int | None, pool: list[dict[str, Any]]
    ) -> Iterator[tuple[int | None, list[dict[str, Any]]]]:
        if not parts:
            yield wanted, sorted(pool, key=ticket)
            return
        for part, count in zip(parts, shares(wanted, [p.count for p in parts], [p.weight for p in parts]), strict=True):
            own = [row for row in pool if matches(part, row)]
            pool = [row for row in pool if not matches(part, row)]
            yield from cells(part.part, count, own)

    numbers = shares(
        config.total, [None if q.count == "all" else q.count for q in config.quota], [q.weight for q in config.quota]
    )
    taken: dict[str, str | None] = {}
    spare: dict[str, list[str]] = {}
    lack: Counter[str] = Counter()
    for quota, number in zip(config.quota, numbers, strict=True):
        pool = [row for row in rows if row["collection"] == quota.collection]
        lines = []
        for wanted, line in cells(quota.part, number, pool):
            cut = len(line) if wanted is None else wanted
            taken |= dict.fromkeys((row["source_key"] for row in line[:cut]), None)
            lines.append([row["source_key"] for row in line[cut:]])
            lack[quota.collection] += 0 if wanted is None else max(0, wanted - len(line))
        longest = max(map(len, lines), default=0)
        spare[quota.collection] = [line[n] for n in range(longest) for line in lines if n < len(line)]
    giver_of = {quota.collection: quota.backfill for quota in config.quota}
    for quota in config.quota:
        giver = quota.backfill
        while giver is not None:
            while lack[quota.collection] and spare[giver]:
                taken[spare[giver].pop(0)] = quota.collection
                lack[quota.collection] -= 1
            giver = giver_of[giver]
    return taken, lack


NAMES = ["coco", "web", "sam"]
made_rows = st.lists(
    st.fixed_dictionaries(
        {
            "collection": st.sampled_from([*NAMES, "else"]),
            "subset": st.sampled_from([None, "x", "y"]),
            "width": st.integers(1, 6),
        }
    ),
    max_size=40,
)


@st.composite
def parts(draw: st.DrawFn, count: int | None, depth: int = 2) -> tuple[Part, ...]:
    """Parts by weight, or by counts that add up to ``count``; nested at most ``depth`` deep."""
    n = draw(st.integers(0, 3)) if depth else 0
    cuts = sorted(draw(st.lists(st.integers(0, count), min_size=n - 1, max_size=n - 1))) if count and n else []
    by_count = count is not None and n > 0 and len(cuts) == n - 1 and draw(st.booleans())
    numbers = [b - a for a, b in zip([0, *cuts], [*cuts, count or 0], strict=True)] if by_count else [None] * n
    found = []
    for number in numbers:
        subset = draw(st.sampled_from([None, "x", "y"]))
        where = (
            draw(st.sampled_from([None, *(f"width >= {w}" for w in (2, 4))]))
            if subset
            else f"width >= {draw(st.integers(1, 5))}"
        )
        weight = None if by_count else draw(st.integers(1, 4))
        below = draw(parts(number, depth - 1))
        found.append(Part(subset=subset, where=where, count=number, weight=weight, part=below))
    return tuple(found)


@st.composite
def configs(draw: st.DrawFn) -> SelectConfig:
    names = draw(st.permutations(NAMES))[: draw(st.integers(1, 3))]
    weighted = draw(st.booleans())
    quotas = []
    for n, name in enumerate(names):
        count: int | str | None = draw(st.integers(0, 12)) if not weighted or (draw(st.booleans()) and n) else None
        if count is not None and not weighted and draw(st.integers(0, 4)) == 0:
            count = "all"
        below = () if count == "all" else draw(parts(count if isinstance(count, int) else None))
        backfill = draw(st.sampled_from([None, *names[n + 1 :]])) if count != "all" else None
        weight = None if count is not None else draw(st.integers(1, 5))
        quotas.append(Quota(collection=name, count=count, weight=weight, part=below, backfill=backfill))  # type: ignore[arg-type]
    counted = sum(q.count for q in quotas if isinstance(q.count, int))
    total = counted + draw(st.integers(0, 20)) if weighted else None
    order = draw(st.sampled_from([None, "width DESC"]))
    return SelectConfig(
        seed=draw(st.integers(0, 3)),
        total=total,
        order=order,
        quota=tuple(quotas),
        shortfall="report",
        duplicates="keep",
    )


def recipe_of(config: SelectConfig) -> str:
    """TOML of what the proof reads; JSON's strings and numbers are TOML's too."""

    def table(name: str, values: Any) -> Iterator[str]:
        yield f"[[{name}]]"
        below = {}
        for key, value in values.items():
            if key == "part":
                below[key] = value
            elif value is not None:
                yield f"{key} = {json.dumps(value)}"
        for key, items in below.items():
            for item in items:
                yield from table(f"{name}.{key}", item)

    data = TypeAdapter(SelectConfig).dump_python(config)
    lines = ["[select]"] + ([f"total = {config.total}"] if config.total is not None else [])
    for quota in data["quota"]:
        lines += table("select.quota", quota)
    return "\n".join(lines)


@settings(max_examples=30, deadline=None)
@given(rows=made_rows, config=configs(), later=st.booleans())
def test_any_quotas_are_filled_as_by_hand_and_their_proof_holds(
    new_lake: Callable[[Path], Lake],
    tmp_path_factory: pytest.TempPathFactory,
    add_rows_to: RowMaker,
    rows: list[dict[str, Any]],
    config: SelectConfig,
    later: bool,
) -> None:
    rows = [row | {"source_key": f"{n:02d}"} for n, row in enumerate(rows)]
    with new_lake(tmp_path_factory.mktemp("quotas") / "lake") as lake:
        if rows:
            add_rows_to(lake, rows)
        check_quotas(lake, rows, config, later)


def check_quotas(lake: Lake, rows: list[dict[str, Any]], config: SelectConfig, later: bool) -> None:
    earlier: set[str] = set()
    if rows and later:  # a release that includes an earlier one
        chosen = select(
            lake, SelectConfig(seed=9, quota=(Quota(collection="web", count=2),), shortfall="report"), model_id=None
        )
        config = TypeAdapter(SelectConfig).validate_python(
            TypeAdapter(SelectConfig).dump_python(config) | {"include": (release(lake, "first", chosen),)}
        )
        earlier = set(chosen.items["source_key"])
    selection = select(lake, config, model_id=None)
    expected, lack = by_hand(rows, config, earlier)
    assert dict(selection.items.select("source_key", "backfills").iter_rows()) == expected
    assert selection.items.height + selection.exclusions.height == len(rows)
    short = selection.quotas.group_by("collection").agg(pl.col("shortfall").sum())
    assert dict(short.iter_rows()) == {quota.collection: lack[quota.collection] for quota in config.quota}
    taken, given_away, backfilled = (sum(selection.quotas[name]) for name in ("taken", "given", "backfilled"))
    assert taken + given_away == selection.items.height
    assert given_away == backfilled
    for line in selection.line.partition_by("collection", "subset"):
        assert sorted(line["place"]) == list(range(1, line.height + 1))

    found = prove(lake, release(lake, "proved", selection, recipe_of(config)))
    assert found.holds
    assert found.images == len(rows)
    assert sum(count.picked for count in found.counts) == selection.items.height
    by_reason = Counter[str]()
    for count in found.counts:
        assert count.pool == count.picked + sum(count.excluded.values())
        by_reason.update(count.excluded)
    assert by_reason == Counter(selection.exclusions["reason"])
    quotas = {(count.quota, count.wanted) for count in found.counts}
    assert quotas >= {(leaf.name, leaf.wanted) for leaf in leaves(config)}


@pytest.fixture(scope="module")
def add_rows_to() -> RowMaker:
    """``add_rows`` for a lake of the module."""

    def add(lake: Lake, rows: list[dict[str, Any]]) -> None:
        made = pl.DataFrame(
            [
                {"source": "made", "image_id": hashlib.sha256(row["source_key"].encode()).hexdigest(), **row}
                for row in rows
            ],
            infer_schema_length=None,
            schema_overrides={"subset": pl.String},
        )
        insert = (
            "INSERT INTO images BY NAME SELECT *, 480 AS height, 'jpeg' AS format, 1 AS orientation, 1 AS n_bytes, "
            '0 AS phash, \'none\' AS shard, 0 AS "row", 0 AS "offset", now() AS ingested_at FROM _new'
        )
        lake.commit(lambda connection: connection.execute(insert).fetchone(), _new=made.to_arrow())

    return add


# Orders, lines, releases


def test_an_order_can_ask_other_tables(lake: Lake, add_rows: RowMaker) -> None:
    """The best captioned first, by CLIPScore; those without a score last."""
    add_rows(lake, rows_of("coco", 4))
    scores = {"coco-00": 20.0, "coco-01": 31.5, "coco-02": 25.0}
    for key, score in scores.items():
        lake.commit(
            lambda connection, key=key, score=score: (
                connection.execute(  # type: ignore[misc]
                    "INSERT INTO captions BY NAME SELECT ? AS caption_id, image_id, 'human' AS kind, 'source' AS producer, "
                    "'made up' AS text, 7 AS chars, 2 AS words, now() AS created_at FROM images WHERE source_key = ?",
                    [key, key],
                ).fetchone()
                and connection.execute(
                    "INSERT INTO caption_scores VALUES (?, 'made-up', ?, false)", [key, score]
                ).fetchone()
            )
        )
    order = (
        "(SELECT max(score) FROM caption_scores JOIN captions USING (caption_id) WHERE captions.image_id = images.image_id) "
        "DESC NULLS LAST -- the best first"
    )
    for count, expected in ((1, ["coco-01"]), (2, ["coco-01", "coco-02"]), (3, ["coco-00", "coco-01", "coco-02"])):
        config = SelectConfig(quota=(Quota(collection="coco", count=count, order=order),))
        assert keys(select(lake, config, model_id=None).items) == expected


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ("widht", "does not fit images"),
        ("1", "orders nothing"),
        ("ALL", "orders nothing"),
        ("width LIMIT 1", "is not an order"),
        ("width) FROM images --", "does not parse"),
        ("random()", "another value in each run"),
        ("rank() OVER ()", "does not fit images"),
        ("(SELECT 1 FROM read_csv('/etc/passwd'))", "not allowed"),
        ("(SELECT max(score) FROM lake.caption_scores)", "name it alone"),
    ],
)
def test_a_wrong_order_is_one_line(lake: Lake, order: str, said: str) -> None:
    with pytest.raises(CaptionlakeError, match=said) as caught:
        select(
            lake, SelectConfig(order=order, quota=(Quota(collection="coco", count="all", order=order),)), model_id=None
        )
    assert "\n" not in str(caught.value)


def test_text_in_a_condition_is_never_taken_for_a_part_of_the_query(lake: Lake, add_rows: RowMaker) -> None:
    add_rows(lake, [{"source_key": "$leaf_place"}, {"source_key": "$seed"}, {"source_key": "other"}])
    config = SelectConfig(where="source_key IN ('$leaf_place', '$seed', '$pinned')")
    assert keys(select(lake, config, model_id=None).items) == ["$leaf_place", "$seed"]


def test_a_refused_picture_gives_its_place_to_the_next_in_line(lake: Lake, add_rows: RowMaker) -> None:
    """Again and again, until nobody is left; and what was its duplicate may come in its place."""
    add_rows(
        lake, [*rows_of("coco", 6), {"source_key": "copy", "collection": "coco", "image": "made/coco-00", "width": 10}]
    )
    config = SelectConfig(order="source_key", quota=(Quota(collection="coco", count=2),), shortfall="report")
    chosen = select(lake, config, model_id=None)
    assert keys(chosen.items) == ["coco-00", "coco-01"]
    assert chosen.line["source_key"].to_list() == ["coco-02", "coco-03", "coco-04", "coco-05"]
    refused = pl.DataFrame({"source": ["made"], "source_key": ["coco-00"], "detail": ["I can't help with that"]})
    second = select(lake, config, model_id=None, refused=refused)
    assert keys(second.items) == ["coco-01", chosen.line["source_key"][0]]
    told = second.exclusions.filter(pl.col("source_key") == "coco-00").select("reason", "detail").row(0)
    assert told == ("flagged", "I can't help with that")
    assert "copy" in second.line["source_key"].to_list()
    all_refused = chosen.items.vstack(chosen.items.clear()).select("source", "source_key")
    everyone = pl.concat([all_refused, chosen.line.select("source", "source_key")]).with_columns(detail=pl.lit("no"))
    last = select(lake, config, model_id=None, refused=everyone)
    assert keys(last.items) == ["copy"]
    assert last.quotas["shortfall"].to_list() == [1]


def test_a_later_version_keeps_the_picks_of_the_one_before(lake: Lake, add_rows: RowMaker) -> None:
    """Whatever the seed and the order, and as keepers too; what is no longer wanted goes for the usual reason."""
    add_rows(lake, rows_of("coco", 10))
    first = select(lake, SelectConfig(seed=1, quota=(Quota(collection="coco", count=4),)), model_id=None)
    label = release(lake, "first", first)
    kept = keys(first.items)
    add_rows(
        lake,
        [*rows_of("web", 3), {"source_key": "big", "collection": "web", "image": f"made/{kept[0]}", "width": 4000}],
    )
    config = SelectConfig(
        seed=2,
        order="width DESC",
        include=(label,),
        keep_order=("web", "coco"),
        quota=(Quota(collection="coco", count=6), Quota(collection="web", count="all")),
    )
    later = select(lake, config, model_id=None)
    assert set(kept) < set(keys(later.items))
    by_key = {row["source_key"]: row for row in later.exclusions.iter_rows(named=True)}
    assert (by_key["big"]["reason"], by_key["big"]["keeper_key"]) == ("duplicate", kept[0])
    assert by_key["big"]["detail"] == "same bytes; an included release first"
    without = select(
        lake,
        SelectConfig(
            seed=2,
            quota=(Quota(collection="coco", count=6), Quota(collection="web", count="all")),
            keep_order=("web", "coco"),
        ),
        model_id=None,
    )
    assert "big" in keys(without.items)
    stricter = select(lake, SelectConfig(include=(label,), where=f"source_key <> '{kept[1]}'"), model_id=None)
    assert {row["source_key"]: row["reason"] for row in stricter.exclusions.iter_rows(named=True)}[
        kept[1]
    ] == "predicate"


def test_what_another_release_has_and_what_is_like_it_is_left_out(
    lake: Lake, add_rows: RowMaker, add_vectors: Any
) -> None:
    """By the bytes under whatever key, and with a threshold by cosine too: each row names the picture that it is like."""
    add_rows(
        lake,
        [
            {"source_key": "train", "collection": "coco"},
            {"source_key": "again", "collection": "web", "image": "made/train"},
            {"source_key": "like", "collection": "web"},
            {"source_key": "other", "collection": "web"},
        ],
    )
    ids = dict(lake.rows("SELECT source_key, image_id FROM images"))
    vectors = [[1.0, 0.0, 0.0], [0.96, 0.28, 0.0], [0.0, 0.0, 1.0]]
    add_vectors(lake, "made-up", [ids["train"], ids["like"], ids["other"]], np.array(vectors, np.float32))
    find_pairs(lake, "made-up", 0.9)
    quota = (Quota(collection="coco", count="all"),)
    label = release(lake, "train", select(lake, SelectConfig(quota=quota), model_id=None))
    found = select(lake, SelectConfig(exclude=(label,), duplicate_threshold=0.95), model_id="made-up")
    assert keys(found.items) == ["other"]
    by_key = {row["source_key"]: row for row in found.exclusions.iter_rows(named=True)}
    assert {row["reason"] for row in by_key.values()} == {"in_release"}
    assert by_key["again"]["detail"] == "in train@1.0.0"
    assert by_key["like"]["detail"] == "similar to a picture of train@1.0.0"
    assert by_key["like"]["keeper_key"] == "train"
    assert by_key["like"]["similarity"] == pytest.approx(0.96)
    assert keys(select(lake, SelectConfig(exclude=(label,)), model_id=None).items) == ["like", "other"]


def test_unknown_releases_are_named_together_with_the_nearest(lake: Lake, add_rows: RowMaker) -> None:
    add_rows(lake, rows_of("coco", 1))
    label = release(lake, "first", select(lake, SelectConfig(), model_id=None))
    with pytest.raises(CaptionlakeError) as caught:
        select(lake, SelectConfig(include=("fist@1.0.0",), exclude=("none@7",)), model_id=None)
    assert f"no release fist@1.0.0, did you mean {label}?, none@7" in str(caught.value)
    with pytest.raises(
        CaptionlakeError, match="there is none yet"
    ):  # nor was there, at the snapshot that the release pins
        select(lake, SelectConfig(include=(label,)), model_id=None, snapshot=lake.snapshot() - 1)


# Keepers by quota


def test_of_a_pair_that_spans_two_collections_the_shorter_quota_keeps_its_own(lake: Lake, add_rows: RowMaker) -> None:
    add_rows(lake, rows_of("coco", 8, width=900) + rows_of("web", 2))
    add_rows(lake, [{"source_key": f"shared-{n}", "collection": "web", "image": f"made/coco-0{n}"} for n in range(2)])
    quotas = (Quota(collection="coco", count=4), Quota(collection="web", count=4))
    with pytest.raises(CaptionlakeError, match=r"web has 2 of 4 \(2 short\)"):
        select(lake, SelectConfig(quota=quotas), model_id=None)
    found = select(lake, SelectConfig(quota=quotas, keepers="quota"), model_id=None)
    assert Counter(found.items["collection"]) == {"coco": 4, "web": 4}
    gone = found.exclusions.filter(pl.col("reason") == "duplicate")
    assert keys(gone) == ["coco-00", "coco-01"]
    assert set(gone["detail"]) == {"same bytes; the shorter quota first"}
    tied = (Quota(collection="coco", count=8), Quota(collection="web", count=4))  # 1 row for each wanted, of either
    for order, left in ((("web",), "coco"), (("coco",), "web")):
        config = SelectConfig(quota=tied, keepers="quota", keep_order=order, shortfall="report")
        assert set(select(lake, config, model_id=None).exclusions["source_key"].str.split("-").list.first()) == (
            {"coco"} if left == "coco" else {"shared"}
        )


# What is short, and what is wrong


def test_a_plan_says_what_would_free_rows_for_a_short_quota(lake: Lake, add_rows: RowMaker) -> None:
    add_rows(lake, rows_of("coco", 5, width=900) + rows_of("web", 3, subset="landmark", width=100) + rows_of("sam", 1))
    add_rows(
        lake,
        [{"source_key": "shared", "collection": "web", "subset": "landmark", "image": "made/coco-00", "width": 400}],
    )
    add_rows(lake, [{"source_key": "style", "collection": "web", "subset": "style", "width": 400}])
    failure = (
        "INSERT INTO fetch_failures BY NAME SELECT 'made' AS source, 'gone-' || i AS source_key, 'web' AS collection, "
        "'timeout' AS reason, 1 AS attempts, now() AS failed_at FROM range(7) t(i)"
    )
    lake.commit(lambda connection: connection.execute(failure).fetchone())
    quotas = (
        Quota(collection="coco", count=2),
        Quota(collection="web", count=4, part=(Part(subset="landmark", count=4),)),
        Quota(collection="coca", count=1),
    )
    config = SelectConfig(where="width >= 200", quota=quotas, shortfall="report")
    lines = shortfall_lines(shortfalls(lake, config, select(lake, config, model_id=None)))
    assert lines == [
        "web/landmark is 4 short",
        "  7 pictures of web could not be had (7 timeout): try them again with  captionlake ingest --retry-failed",
        "  3 left out by `where`: loosen it",
        '  3 are in line for coco beyond its quota: backfill = "coco"',
        '  1 are duplicates of rows of other quotas: raise its place in `keep_order`, or set keepers = "quota"',
        "  1 rows of web are in no part of its quota: widen one",
        "coca is 1 short",
        '  3 are in line for coco beyond its quota: backfill = "coco"',
    ]
    alone = SelectConfig(quota=(Quota(collection="coca", count=1),), shortfall="report")
    lines = shortfall_lines(shortfalls(lake, alone, select(lake, alone, model_id=None)))
    assert lines == ["coca is 1 short", "  the lake has no coca, did you mean coco?"]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"quota": [{"collection": "a", "weight": 1}]}, "`total`"),
        ({"total": 5}, "add [[select.quota]]"),
        ({"total": 5, "quota": [{"collection": "a", "count": 4}]}, "add up to 4"),
        ({"total": 5, "quota": [{"collection": "a", "count": 6}, {"collection": "b", "weight": 1}]}, "add up to 6"),
        ({"total": 5, "quota": [{"collection": "a", "count": "all"}, {"collection": "b", "weight": 1}]}, '"all" of a'),
        ({"quota": [{"collection": "a", "count": 1, "backfill": "b"}]}, "names b, which has no quota"),
        ({"include": ["a@1"], "exclude": ["a@1"]}, "included and excluded"),
        (
            {
                "quota": [
                    {"collection": "a", "count": 1, "backfill": "b"},
                    {"collection": "b", "count": 1, "backfill": "c"},
                    {"collection": "c", "count": 1, "backfill": "b"},
                ]
            },
            "in a circle: b -> c -> b",
        ),
    ],
)
def test_a_recipe_that_cannot_be_met_is_refused_before_it_runs(table: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(SelectConfig).validate_python(table)
    assert said in str(caught.value)


# The proof


def test_a_release_that_does_not_account_for_its_rows_has_no_proof(lake: Lake, add_rows: RowMaker) -> None:
    """A row of exclusions that is gone, and one that is there twice, are both counted as not accounted for."""
    add_rows(lake, rows_of("coco", 4) + rows_of("web", 2))
    config = SelectConfig(quota=(Quota(collection="coco", count=2), Quota(collection="web", count=1)))
    label = release(lake, "first", select(lake, config, model_id=None), recipe_of(config))
    assert prove(lake, label).holds
    for change, damaged in (
        ("DELETE FROM exclusions WHERE source_key LIKE 'web%'", {"web": 1, "coco": 0, "no quota": 0}),
        (
            "INSERT INTO exclusions SELECT * REPLACE ('predicate' AS reason) FROM exclusions WHERE source_key LIKE 'coco%' LIMIT 1",
            {"web": 1, "coco": 1, "no quota": 0},
        ),
    ):
        lake.commit(lambda connection, change=change: connection.execute(change).fetchone())  # type: ignore[misc]
        found = prove(lake, label)
        assert not found.holds
        assert {count.quota: count.unaccounted for count in found.counts} == damaged


def test_the_proofs_sql_runs_as_a_users_query(lake: Lake, add_rows: RowMaker, tmp_path: Path) -> None:
    """Through the gate of read-only SQL, to the same counts."""
    add_rows(lake, rows_of("coco", 4, width=900) + rows_of("web", 3, subset="x"))
    where = "image_id NOT IN (SELECT image_id FROM captions)"
    part = (Part(subset="x", where=where, count=1),)
    config = SelectConfig(quota=(Quota(collection="coco", count=2), Quota(collection="web", count=1, part=part)))
    label = release(lake, "first", select(lake, config, model_id=None), recipe_of(config))
    found = prove(lake, label)
    assert found.holds
    for count in found.counts:
        rows = run_query(lake.path, count.sql).to_pylist()
        assert {row["outcome"]: row["images"] for row in rows} == {
            **count.excluded,
            **({"picked": count.picked} if count.picked else {}),
        }
