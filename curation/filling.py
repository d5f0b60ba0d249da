"""Quotas filled from the rows that survive: in the order of the draw, and what one lacks from the collection that backfills it."""

from dataclasses import dataclass

import polars as pl

from captionlake.curation.quota_tree import Leaf
from captionlake.curation.select_config import SelectConfig


def fill(survivors: pl.DataFrame, config: SelectConfig, tree: list[Leaf]) -> pl.DataFrame:
    """Adds taken (for its own quota), backfills (the collection in whose place it is taken, else null) and place: in the line of
    those of its leaf that are not taken, from 1.

    ``survivors``: leaf, quota, draw. A quota gives its next in line: the first of each of its parts, then the second of each.
    """
    wanted = {n: leaf.wanted for n, leaf in enumerate(tree)} or {0: None}
    rows = survivors.with_columns(
        nth=pl.col("draw").rank("ordinal").over("leaf").cast(pl.Int64),
        wanted=pl.col("leaf").replace_strict(wanted, default=None, return_dtype=pl.Int64),
    ).with_columns(taken=pl.col("wanted").is_null() | (pl.col("nth") <= pl.col("wanted")))
    gifts = _gifts(rows, config, tree)
    spare = rows.filter(~pl.col("taken")).with_columns(beyond=pl.col("nth") - pl.col("wanted"))
    backfills = pl.DataFrame(schema={"source": pl.String, "source_key": pl.String, "backfills": pl.String})
    for giver in {gift.giver for gift in gifts}:
        line = spare.filter(pl.col("quota") == giver).sort("beyond", "leaf").select("source", "source_key")
        first = 0
        for gift in (gift for gift in gifts if gift.giver == giver):
            name = config.quota[gift.taker].collection
            given = line.slice(first, gift.n).with_columns(backfills=pl.lit(name, pl.String))
            backfills, first = pl.concat([backfills, given]), first + gift.n
    rows = rows.join(backfills, on=["source", "source_key"], how="left")
    waiting = ~pl.col("taken") & pl.col("backfills").is_null()
    return rows.with_columns(place=pl.when(waiting).then(pl.col("draw").rank("ordinal").over("leaf", waiting)))


@dataclass(frozen=True, slots=True)
class _Gift:
    """``n`` rows of the quota ``giver`` in the place of rows that ``taker`` lacks; both are places in the recipe."""

    giver: int
    taker: int
    n: int


def _gifts(rows: pl.DataFrame, config: SelectConfig, tree: list[Leaf]) -> list[_Gift]:
    """Who gives how many to whom. What a giver cannot give is asked of its own backfill, and so on along the chain."""
    giver_of = {
        n: next(m for m, other in enumerate(config.quota) if other.collection == quota.backfill)
        for n, quota in enumerate(config.quota)
        if quota.backfill is not None
    }
    available = dict(rows.group_by("leaf").len().iter_rows())
    spare, lack = dict.fromkeys(range(len(config.quota)), 0), dict.fromkeys(range(len(config.quota)), 0)
    for n, leaf in enumerate(tree):
        if leaf.wanted is not None:
            spare[leaf.quota] += max(0, available.get(n, 0) - leaf.wanted)
            lack[leaf.quota] += max(0, leaf.wanted - available.get(n, 0))
    gifts = []
    for taker in giver_of:
        giver: int | None = giver_of[taker]
        while giver is not None and lack[taker]:
            n = min(spare[giver], lack[taker])
            if n:
                gifts.append(_Gift(giver, taker, n))
                spare[giver], lack[taker] = spare[giver] - n, lack[taker] - n
            giver = giver_of.get(giver)
    return gifts


def line_detail(tree: list[Leaf]) -> pl.Expr:
    """Why a row past its quota is left out, and how soon its turn comes."""
    names = {n: leaf.name for n, leaf in enumerate(tree)} or {0: ""}
    name = pl.col("leaf").replace_strict(names, default=None, return_dtype=pl.String)
    return pl.format("the quota of {} for {} is full; place {} in line", "wanted", name, "place")


def quota_table(rows: pl.DataFrame, config: SelectConfig, tree: list[Leaf]) -> pl.DataFrame:
    """A row a leaf in the order of the recipe; without quotas one a collection."""
    given = pl.col("backfills").is_not_null()
    counts = [
        pl.len().cast(pl.Int64).alias("available"),
        pl.col("taken").sum().cast(pl.Int64),
        given.sum().cast(pl.Int64).alias("given"),
    ]
    if not config.quota:
        found = rows.group_by("collection").agg(counts).sort("collection")
        found = found.with_columns(subset=pl.lit(None, pl.String), wanted=pl.lit(None, pl.Int64))
    else:
        schema = {"leaf": pl.Int32, "collection": pl.String, "subset": pl.String, "wanted": pl.Int64}
        whole = pl.DataFrame(
            [(n, leaf.path[0], leaf.subset, leaf.wanted) for n, leaf in enumerate(tree)], schema=schema, orient="row"
        )
        found = whole.join(rows.group_by("leaf").agg(counts), on="leaf", how="left").sort("leaf")
        found = found.with_columns(pl.col("available", "taken", "given").fill_null(0))
    received = dict(rows.filter(given).group_by("backfills").len().iter_rows())
    backfilled = []
    for row in found.iter_rows(named=True):  # a quota's parts in turn
        lack = (row["wanted"] or 0) - row["taken"] if row["wanted"] is not None else 0
        n = min(lack, received.get(row["collection"], 0))
        backfilled.append(n)
        if n:
            received[row["collection"]] -= n
    table = found.with_columns(backfilled=pl.Series(backfilled, dtype=pl.Int64))
    shortfall = (pl.col("wanted") - pl.col("taken") - pl.col("backfilled")).fill_null(0)
    return table.select(
        "collection", "subset", "wanted", "available", "taken", "given", "backfilled", shortfall.alias("shortfall")
    )
