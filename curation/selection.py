"""Select: which rows of ``images`` a release takes, and why not each of the others.

A pure function of a snapshot and a ``SelectConfig``. Decisions fall in this order, and the first that excludes a row
is its reason: predicate, no_quota, no_caption, contaminated, in_release, flagged, duplicate, over_quota. Within a quota rows are
drawn in its order, and where it has none, or for two alike, in that of ``sha256(seed:length:source:source_key)``, length being that of
source in bytes (so no two keys share an encoding); an order that does not depend on other rows, so an added image displaces what
it duplicates and at most one row of a full quota. Rows of an included release come before all others.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches

import polars as pl

from captionlake.curation.candidates import candidates
from captionlake.curation.duplicates import find_duplicates, find_similar
from captionlake.curation.filling import fill, line_detail, quota_table
from captionlake.curation.hashes import BITS
from captionlake.curation.links import BY_PHASH, BYTES
from captionlake.curation.quota_tree import Leaf, leaves
from captionlake.curation.select_config import Part, Quota, SelectConfig
from captionlake.curation.stored_pairs import known_pairs
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.reasons import ExclusionReason as Reason

__all__ = ["Part", "Quota", "SelectConfig", "Selection", "select"]

log = logging.getLogger(__name__)

# At the end of a duplicate's detail:
SHORTER = "; the shorter quota first"
EARLIER = "; an included release first"

KEY = ["source", "source_key"]
ITEM = [*KEY, "image_id", "collection", "subset", "backfills"]
EXCLUSION = dict.fromkeys([*KEY, "reason", "detail", "keeper_source", "keeper_key"], pl.String) | {
    "similarity": pl.Float64
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Every row of ``images`` at ``snapshot`` is in ``items`` or in ``exclusions``, and in one of them only.

    ``items``: source, source_key, image_id, collection, subset, backfills (the collection in whose place it was taken, else
    null); in order of the key. ``exclusions``: source, source_key, reason, detail, keeper_source, keeper_key, similarity.
    ``quotas``, a row a quota or part: collection, subset (the part), wanted (null: all), available, taken, given (beyond its own
    number, to quotas that lack some), backfilled (from others), shortfall. ``left``: collection, subset, reason, n, elsewhere (of
    these, duplicates whose keeper is of another quota).
    ``line``, those past their quota: collection, subset, place (1 is the next to be taken), source, source_key, image_id.
    """

    snapshot: int
    items: pl.DataFrame
    exclusions: pl.DataFrame
    quotas: pl.DataFrame
    left: pl.DataFrame
    line: pl.DataFrame


def select(
    lake: Lake,
    config: SelectConfig,
    *,
    model_id: str | None,
    captioned_by: str | None = None,
    snapshot: int | None = None,
    refused: pl.DataFrame | None = None,
) -> Selection:
    """Choose rows at ``snapshot`` (default: the newest). ``captioned_by``: only rows with a caption by this producer.

    ``refused`` (source, source_key, detail) are left out as flagged, and their places go to the next in line. Raises where a
    condition or an order is wrong, where embeddings or pairs that the duplicate threshold needs are missing, where a release is
    unknown, and on quotas that fall short, unless ``shortfall`` is "report".
    """
    if config.duplicate_threshold is not None and model_id is None:
        raise CaptionlakeError(
            "duplicate_threshold is set but no model embeds the pictures: add an [embed] table, or leave it out"
        )
    at = lake.snapshot() if snapshot is None else snapshot
    _check_releases(lake, config, at)
    tree = leaves(config)
    rows = candidates(lake, config, tree, captioned_by, at)
    out: list[pl.DataFrame] = []
    still = rows
    for condition, reason, detail in _first_reasons(config, tree, captioned_by):
        out.append(_because(still.filter(condition), reason, detail))
        still = still.filter(~condition)
    excluded = rows.filter(pl.col("excluded").is_not_null())
    excluded = excluded.filter(pl.col("in_excluded") == pl.col("in_excluded").max().over("image_id"))
    known = known_pairs(lake, config, model_id, at, pl.concat([still["image_id"], excluded["image_id"]]))
    if excluded.height:
        still = _set_apart(
            still,
            out,
            find_similar(still, known.pairs, excluded, known.groups),
            Reason.IN_RELEASE,
            _like_released(excluded),
        )
    if refused is not None:
        gone = still.select(KEY).join(refused, on=KEY)
        still = _set_apart(still, out, gone, Reason.FLAGGED, pl.col("detail"))
    looked_at = _ahead(still, config, tree) if config.duplicates == "drop" else still.clear()
    gone = find_duplicates(looked_at, known.pairs, config.keep_order, known.groups)
    still = _set_apart(still, out, *_duplicates(gone, still, config, model_id))
    filled = fill(still, config, tree)
    line = filled.filter(~pl.col("taken") & pl.col("backfills").is_null())
    out.append(_because(line, Reason.OVER_QUOTA, line_detail(tree)))
    everything = pl.concat(out)
    selection = Selection(
        snapshot=at,
        items=filled.join(line, on=KEY, how="anti").select(ITEM).sort(KEY),
        exclusions=everything.sort(KEY),
        quotas=quota_table(filled, config, tree),
        left=_left(rows, everything, tree),
        line=_named(line, tree)
        .select("collection", "subset", "place", *KEY, "image_id")
        .sort("collection", "subset", "place"),
    )
    _check_shortfall(lake, config, selection)
    return selection


def _first_reasons(
    config: SelectConfig, tree: list[Leaf], captioned_by: str | None
) -> Iterator[tuple[pl.Expr, Reason, pl.Expr]]:
    """What a row is left out for before others are looked at: condition, reason, detail; the first that holds."""
    wheres = {n: quota.where for n, quota in enumerate(config.quota) if quota.where is not None}
    splits = [n for n, quota in enumerate(config.quota) if quota.split is not None]
    subset = pl.col("subset").fill_null("(none)")
    no_part = (
        pl.when(pl.col("quota").is_in(splits))
        .then(pl.format("the split of {} has no share for subset {}", "collection", subset))
        .otherwise(pl.format("no part of the quota for {} takes it", "collection"))
    )
    yield ~pl.col("passes"), Reason.PREDICATE, pl.lit(config.where)
    yield pl.col("quota").is_null(), Reason.NO_QUOTA, pl.format("no quota for {}", "collection")
    if wheres:
        where = pl.col("quota").replace_strict(wheres, default=None, return_dtype=pl.String)
        yield ~pl.col("quota_passes"), Reason.PREDICATE, where
    yield pl.col("leaf").is_null(), Reason.NO_QUOTA, no_part
    yield ~pl.col("captioned"), Reason.NO_CAPTION, pl.lit(f"no caption by {captioned_by}")
    if config.decontaminate:
        yield pl.col("benchmark_item").is_not_null(), Reason.CONTAMINATED, pl.format("shows {}", "benchmark_item")
    yield pl.col("excluded").is_not_null(), Reason.IN_RELEASE, pl.format("in {}", "excluded")


def _because(rows: pl.DataFrame, reason: Reason, detail: pl.Expr) -> pl.DataFrame:
    """Rows as exclusions; what the frame lacks of a keeper is null."""
    absent = [pl.lit(None, kind).alias(name) for name, kind in EXCLUSION.items() if name not in rows.columns]
    rows = rows.with_columns(absent).with_columns(reason=pl.lit(str(reason)), detail=detail)
    return rows.select([pl.col(name).cast(kind) for name, kind in EXCLUSION.items()])


def _set_apart(
    rows: pl.DataFrame, out: list[pl.DataFrame], found: pl.DataFrame, reason: Reason, detail: pl.Expr
) -> pl.DataFrame:
    """The rows that stay once those ``found`` are among the exclusions ``out``."""
    out.append(_because(found, reason, detail))
    return rows.join(found, on=KEY, how="anti") if found.height else rows


def _duplicates(
    gone: pl.DataFrame, rows: pl.DataFrame, config: SelectConfig, model_id: str | None
) -> tuple[pl.DataFrame, Reason, pl.Expr]:
    """Duplicates with what they are, and what ranked their keepers first where it was not ``keep_order``."""
    kept = rows.filter(pl.col("included").is_not_null()).select(
        pl.col("source").alias("keeper_source"), pl.col("source_key").alias("keeper_key"), earlier=True
    )
    bits = ((1 - pl.col("similarity")) * BITS).round().cast(pl.Int64)
    similar = (
        pl.when(pl.col("by") == BYTES)
        .then(pl.lit("same bytes"))
        .when(pl.col("by") == BY_PHASH)
        .then(pl.format("perceptual hash, {} of 64 bits apart", bits))
        .otherwise(pl.lit(f"cosine by {model_id}"))
    )
    shorter = pl.lit(SHORTER if config.keepers == "quota" else "")
    rank = pl.when("earlier").then(pl.lit(EARLIER)).otherwise(shorter)
    return gone.join(kept, on=["keeper_source", "keeper_key"], how="left"), Reason.DUPLICATE, similar + rank


def _like_released(excluded: pl.DataFrame) -> pl.Expr:
    labels = sorted(excluded["excluded"].unique())
    return pl.lit(f"similar to a picture of {', '.join(labels)}")


def _ahead(rows: pl.DataFrame, config: SelectConfig, tree: list[Leaf]) -> pl.DataFrame:
    """Adds ahead, what ranks before ``keep_order``: included rows, then with keepers = "quota" those of the shorter quota.

    A quota is the shorter, the fewer rows it has to choose from for each that it wants; one without a number is never short.
    """
    supply = dict(rows.group_by("leaf").len().iter_rows())
    ratios = {n: supply.get(n, 0) / leaf.wanted if leaf.wanted else float("inf") for n, leaf in enumerate(tree)}
    places = {ratio: place for place, ratio in enumerate(sorted(set(ratios.values())))}
    by_leaf = {n: places[ratio] for n, ratio in ratios.items()} if config.keepers == "quota" else {}
    place = pl.col("leaf").replace_strict(by_leaf, default=0, return_dtype=pl.Int64) if by_leaf else pl.lit(0, pl.Int64)
    return rows.with_columns(ahead=pl.when(pl.col("included").is_not_null()).then(-1).otherwise(place))


def _named(rows: pl.DataFrame, tree: list[Leaf]) -> pl.DataFrame:
    """With subset the path of the leaf below the collection, null where it is the whole."""
    names = {n: leaf.subset for n, leaf in enumerate(tree)} or {0: None}
    return rows.with_columns(subset=pl.col("leaf").replace_strict(names, default=None, return_dtype=pl.String))


def _left(rows: pl.DataFrame, exclusions: pl.DataFrame, tree: list[Leaf]) -> pl.DataFrame:
    keeper = {"source": "keeper_source", "source_key": "keeper_key", "leaf": "keeper_leaf"}
    found = (
        exclusions.select(*KEY, "reason", "keeper_source", "keeper_key")
        .join(rows.select(*KEY, "collection", "leaf"), on=KEY)
        .join(rows.select(*KEY, "leaf").rename(keeper), on=["keeper_source", "keeper_key"], how="left")
    )
    elsewhere = pl.col("keeper_leaf").is_not_null() & pl.col("keeper_leaf").ne_missing(pl.col("leaf"))
    counts = [pl.len().cast(pl.Int64).alias("n"), elsewhere.sum().cast(pl.Int64).alias("elsewhere")]
    table = _named(found.group_by("collection", "leaf", "reason").agg(counts), tree)
    return table.select("collection", "subset", "reason", "n", "elsewhere").sort("collection", "subset", "reason")


def _check_releases(lake: Lake, config: SelectConfig, snapshot: int) -> None:
    """All releases that are named and unknown, at once."""
    query = f"SELECT concat(name, '@', version) FROM lake.releases AT (VERSION => {snapshot:d})"
    known = [label for (label,) in lake.rows(query)] if config.include or config.exclude else []
    wrong = [name for name in (*config.include, *config.exclude) if name not in known]
    if wrong:
        there = f"there are {', '.join(sorted(known))}" if known else "there is none yet"
        near = [f"{name}{nearest(name, known)}" for name in wrong]
        raise CaptionlakeError(f"no release {', '.join(near)} at snapshot {snapshot}: {there}")


def _check_shortfall(lake: Lake, config: SelectConfig, selection: Selection) -> None:
    """Every quota that falls short, and every collection that the lake does not have; an error, or a warning."""
    known = collections(lake, selection.snapshot)
    unknown = [quota.collection for quota in config.quota if quota.collection not in known]
    problems = [f"{name} is no collection of the lake{nearest(name, known)}" for name in unknown]
    problems += [
        f"{row['collection']}{'/' + row['subset'] if row['subset'] else ''} has "
        f"{row['taken'] + row['backfilled']:,} of {row['wanted']:,} ({row['shortfall']:,} short)"
        for row in selection.quotas.filter(pl.col("shortfall") > 0).iter_rows(named=True)
        if row["collection"] not in unknown
    ]
    if not problems:
        return
    said = f"quotas not met: {'; '.join(problems)}"
    if config.shortfall == "error":
        raise CaptionlakeError(
            f'{said}: add images, lower the counts, or set shortfall = "report"; see  captionlake select --plan RECIPE'
        )
    log.warning("%s", said)


def collections(lake: Lake, snapshot: int) -> list[str]:
    """Those that have rows in images."""
    query = f"SELECT DISTINCT collection FROM lake.images AT (VERSION => {snapshot:d}) ORDER BY collection"
    return [name for (name,) in lake.rows(query)]


def nearest(name: str, known: list[str]) -> str:
    """The end of a sentence on an unknown name: what may have been meant."""
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    return f", did you mean {near[0]}?" if near else ""
