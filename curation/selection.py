"""Select: which rows of ``images`` a release takes, and why not each of the others.

A pure function of a snapshot and a ``SelectConfig``. Decisions fall in this order, and the first that excludes a row
is its reason: predicate, no_quota, no_caption, contaminated, duplicate, over_quota. Within a quota rows are drawn in the order of
``sha256(seed:length:source:source_key)``, length being that of source in bytes (so no two keys share an encoding); an
order that does not depend on other rows, so an added image displaces what it duplicates and at most one row of a full
quota.
"""

import json
import logging
from dataclasses import dataclass
from importlib.resources import files

import duckdb
import polars as pl

from captionlake.curation.duplicates import find_duplicates
from captionlake.curation.select_config import Quota, SelectConfig
from captionlake.curation.similarity import METHODS, pairs_complete
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.catalog import first_line
from captionlake.lake.gate import check_predicate
from captionlake.lake.reasons import ExclusionReason as Reason

__all__ = ["Quota", "SelectConfig", "Selection", "select"]

log = logging.getLogger(__name__)

KEY = ["source", "source_key"]
ITEM = [*KEY, "image_id", "collection", "subset"]
EXCLUSION = [*KEY, "reason", "detail", "keeper_source", "keeper_key", "similarity"]
#: tables that a predicate may read beside the columns of images, at the selection's snapshot
PREDICATE_TABLES = ("images", "sources", "captions", "caption_flags", "contamination")


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Every row of ``images`` at ``snapshot`` is in ``items`` or in ``exclusions``, and in one of them only.

    ``items``: source, source_key, image_id, collection, subset; in order of the key. ``exclusions``: source,
    source_key, reason, detail, keeper_source, keeper_key, similarity. ``quotas``: collection, subset, wanted (null:
    all), available, taken, shortfall.
    """

    snapshot: int
    items: pl.DataFrame
    exclusions: pl.DataFrame
    quotas: pl.DataFrame


def select(
    lake: Lake,
    config: SelectConfig,
    *,
    model_id: str | None,
    captioned_by: str | None = None,
    snapshot: int | None = None,
) -> Selection:
    """Choose rows at ``snapshot`` (default: the newest). ``captioned_by``: only rows with a caption by this producer.

    Raises where the predicate is wrong, where embeddings or pairs that the duplicate threshold needs are missing, and
    on a quota that falls short, unless ``shortfall`` is "report".
    """
    if config.duplicate_threshold is not None and model_id is None:
        raise CaptionlakeError(
            "duplicate_threshold is set but no model embeds the pictures: add an [embed] table, or leave it out"
        )
    at = lake.snapshot() if snapshot is None else snapshot
    rows = _with_first_reasons(_candidates(lake, config, captioned_by, at), config, captioned_by)
    open_rows = rows.filter(pl.col("reason").is_null())
    pairs = _pairs(lake, config, model_id, at, open_rows)
    looked_at = open_rows if config.duplicates == "drop" else open_rows.clear()
    duplicates = find_duplicates(looked_at, pairs, config.keep_order).with_columns(
        detail=pl.when("same_bytes").then(pl.lit("same bytes")).otherwise(pl.lit(f"cosine by {model_id}"))
    )
    survivors = open_rows.join(duplicates, on=KEY, how="anti").with_columns(
        nth=pl.col("draw").rank("ordinal").over("quota")
    )
    taken = pl.col("wanted").is_null() | (pl.col("nth") <= pl.col("wanted"))
    over = survivors.filter(~taken).with_columns(detail=_quota_detail())
    exclusions = [
        rows.filter(pl.col("reason").is_not_null()),
        duplicates.with_columns(reason=pl.lit(str(Reason.DUPLICATE))),
        over.with_columns(reason=pl.lit(str(Reason.OVER_QUOTA))),
    ]
    selection = Selection(
        snapshot=at,
        items=survivors.filter(taken).select(ITEM).sort(KEY),
        exclusions=pl.concat([_exclusions(part) for part in exclusions]).sort(KEY),
        quotas=_quota_table(config, survivors.with_columns(taken=taken)),
    )
    if config.shortfall == "error":
        _refuse_shortfall(selection.quotas)
    return selection


def _candidates(lake: Lake, config: SelectConfig, captioned_by: str | None, snapshot: int) -> pl.DataFrame:
    """Every row of images with what decides about it: passes, captioned, draw (place in the order of the seed)."""
    if config.where is not None:
        check_predicate(lake.connection, config.where, PREDICATE_TABLES)
        _refuse_other_snapshots(lake, config.where)
    pinned = ",\n".join(f"{name} AS (FROM lake.{name} AT (VERSION => {snapshot:d}))" for name in PREDICATE_TABLES)
    query = files("captionlake.curation").joinpath("sql/candidates.sql").read_text()
    query = query.replace("$pinned", pinned).replace("$where", config.where or "true")
    try:
        return _polars(lake, query, [config.seed, captioned_by])
    except duckdb.Error as error:
        raise CaptionlakeError(
            f"rows cannot be chosen at snapshot {snapshot} where {config.where or 'true'} ({first_line(error)}): "
            "check the condition against the columns of images, and that the snapshot exists"
        ) from error


def _refuse_other_snapshots(lake: Lake, where: str) -> None:
    """A table with its catalog or with AT would be read at a snapshot other than the selection's."""
    nodes = [json.loads(lake.value("SELECT json_serialize_sql(?::VARCHAR)", [f"FROM images WHERE (\n{where}\n)"]))]
    while nodes:
        node = nodes.pop()
        if isinstance(node, dict):
            qualified = node.get("type") == "BASE_TABLE" and (node.get("catalog_name") or node.get("schema_name"))
            if qualified or node.get("at_clause"):
                raise CaptionlakeError(
                    f"the table {node.get('table_name')} in where is named with its catalog or with AT: name it alone, "
                    "it is read at the snapshot of the selection"
                )
        nodes += list(node.values()) if isinstance(node, dict) else node if isinstance(node, list) else []


def _polars(lake: Lake, query: str, parameters: list[object]) -> pl.DataFrame:
    frame = pl.from_arrow(lake.arrow(query, parameters))
    assert isinstance(frame, pl.DataFrame)
    return frame


def _with_first_reasons(rows: pl.DataFrame, config: SelectConfig, captioned_by: str | None) -> pl.DataFrame:
    """Adds quota (its number), wanted, and reason with detail where the row falls before duplicates are looked at."""
    split = [quota.collection for quota in config.quota if quota.split is not None]
    in_split = pl.col("collection").is_in(split)
    rows = rows.with_columns(share=pl.when(in_split).then(pl.col("subset")).otherwise(None))
    if config.quota:
        rows = rows.join(_shares(config), on=["collection", "share"], how="left", nulls_equal=True)
    else:
        rows = rows.with_columns(quota=pl.lit(0, pl.Int32), wanted=pl.lit(None, pl.Int64))
    subset = pl.col("subset").fill_null("(none)")
    no_share = pl.format("the split of {} has no share for subset {}", "collection", subset)
    no_quota = pl.when(in_split).then(no_share).otherwise(pl.format("no quota for {}", "collection"))
    reasons = [
        (~pl.col("passes"), Reason.PREDICATE, pl.lit(config.where)),
        (pl.col("quota").is_null(), Reason.NO_QUOTA, no_quota),
        (~pl.col("captioned"), Reason.NO_CAPTION, pl.lit(f"no caption by {captioned_by}")),
        (
            pl.col("benchmark_item").is_not_null() & config.decontaminate,
            Reason.CONTAMINATED,
            pl.format("shows {}", "benchmark_item"),
        ),
    ]
    reason: pl.Expr = pl.lit(None, pl.String)
    detail: pl.Expr = pl.lit(None, pl.String)
    for condition, name, why in reversed(reasons):
        reason = pl.when(condition).then(pl.lit(str(name))).otherwise(reason)
        detail = pl.when(condition).then(why).otherwise(detail)
    return rows.with_columns(reason=reason, detail=detail)


def _shares(config: SelectConfig) -> pl.DataFrame:
    """A row a quota, or a share of a split one: quota, collection, share (null: no split), wanted (null: all)."""
    shares: list[tuple[str, str | None, int | None]] = []
    for quota in config.quota:
        if quota.split is None:
            shares.append((quota.collection, None, None if quota.count == "all" else quota.count))
        else:
            shares += [(quota.collection, subset, count) for subset, count in quota.split.items()]
    schema = {"collection": pl.String, "share": pl.String, "wanted": pl.Int64}
    frame = pl.DataFrame(shares, schema=schema, orient="row").with_row_index("quota")
    return frame.with_columns(pl.col("quota").cast(pl.Int32))


def _pairs(lake: Lake, config: SelectConfig, model_id: str | None, snapshot: int, rows: pl.DataFrame) -> pl.DataFrame:
    """Pairs at or above the threshold; refuses to go on where some could be missing."""
    schema = {"image_id": pl.String, "other_id": pl.String, "similarity": pl.Float64, "method": pl.String}
    if config.duplicate_threshold is None or model_id is None:
        return pl.DataFrame(schema=schema)
    version = f"AT (VERSION => {snapshot:d})"
    embedded = _polars(lake, f"SELECT image_id FROM lake.embeddings {version} WHERE model_id = ?", [model_id])
    missing = rows.select("image_id").unique().join(embedded, on="image_id", how="anti").height
    if missing:
        raise CaptionlakeError(f"{missing:,} pictures have no embedding by {model_id}: run  captionlake embed  first")
    if not pairs_complete(lake, model_id, config.duplicate_threshold, snapshot):
        raise CaptionlakeError(
            f"similar pairs of {model_id} at {config.duplicate_threshold} are not all known: run  "
            f"captionlake dedupe --threshold {config.duplicate_threshold}  first"
        )
    query = (
        f"SELECT image_id, other_id, similarity, method FROM lake.similar_pairs {version} "
        "WHERE model_id = ? AND list_contains(?, method) AND similarity >= ?"
    )
    return _polars(lake, query, [model_id, list(METHODS), config.duplicate_threshold])


def _quota_detail() -> pl.Expr:
    name = pl.when(pl.col("share").is_null()).then("collection").otherwise(pl.format("{}/{}", "collection", "share"))
    return pl.format("the quota of {} for {} is full", "wanted", name)


def _exclusions(rows: pl.DataFrame) -> pl.DataFrame:
    absent = [name for name in EXCLUSION if name not in rows.columns]
    rows = rows.with_columns([pl.lit(None).alias(name) for name in absent])
    types = [pl.String] * (len(EXCLUSION) - 1) + [pl.Float64]
    return rows.select([pl.col(name).cast(kind) for name, kind in zip(EXCLUSION, types, strict=True)])


def _quota_table(config: SelectConfig, survivors: pl.DataFrame) -> pl.DataFrame:
    counts = [pl.len().cast(pl.Int64).alias("available"), pl.col("taken").sum().cast(pl.Int64)]
    if not config.quota:
        table = survivors.group_by("collection").agg(counts).sort("collection")
        table = table.with_columns(share=pl.lit(None, pl.String), wanted=pl.lit(None, pl.Int64))
    else:
        found = survivors.group_by("quota").agg(counts)
        table = _shares(config).join(found, on="quota", how="left").sort("quota")
        table = table.with_columns(pl.col("available", "taken").fill_null(0))
    shortfall = (pl.col("wanted") - pl.col("taken")).fill_null(0)
    return table.select(
        "collection", pl.col("share").alias("subset"), "wanted", "available", "taken", shortfall.alias("shortfall")
    )


def _refuse_shortfall(quotas: pl.DataFrame) -> None:
    short = [
        f"{row['collection']}{'/' + row['subset'] if row['subset'] else ''} has {row['available']:,} "
        f"of {row['wanted']:,} "
        f"({row['shortfall']:,} short)"
        for row in quotas.filter(pl.col("shortfall") > 0).iter_rows(named=True)
    ]
    if short:
        raise CaptionlakeError(
            f'quotas not met: {"; ".join(short)}: add images, lower the counts, or set shortfall = "report"'
        )
