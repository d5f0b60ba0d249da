"""``select --plan``: what each quota lacks, and what would free it."""

from dataclasses import dataclass

import polars as pl

from captionlake.curation.select_config import SelectConfig
from captionlake.curation.selection import Selection, collections, nearest
from captionlake.lake import Lake
from captionlake.lake.reasons import ExclusionReason as Reason

_MENDS = {
    Reason.PREDICATE: "left out by `where`: loosen it",
    Reason.NO_CAPTION: "have no caption by this producer: caption them first",
    Reason.CONTAMINATED: "are a benchmark's: only `decontaminate = false` would take them",
    Reason.IN_RELEASE: "are in a release that `exclude` names, or similar to one that is: leave it out of `exclude`",
    Reason.FLAGGED: "were refused",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Shortfall:
    """A quota that lacks ``n``, and what would free rows for it: each with how many at most, the most first."""

    collection: str
    subset: str | None
    n: int
    would_free: list[tuple[int, str]]
    known: bool  # whether the lake has this collection
    nearest: str  # what may have been meant where it has not


def shortfalls(lake: Lake, config: SelectConfig, selection: Selection) -> list[Shortfall]:
    """Of every quota or part that is short, in the order of the recipe."""
    known = collections(lake, selection.snapshot)
    return [
        Shortfall(
            collection=row["collection"],
            subset=row["subset"],
            n=row["shortfall"],
            would_free=sorted(_frees(lake, config, selection, row["collection"], row["subset"]), key=lambda f: -f[0]),
            known=row["collection"] in known,
            nearest="" if row["collection"] in known else nearest(row["collection"], known),
        )
        for row in selection.quotas.filter(pl.col("shortfall") > 0).iter_rows(named=True)
    ]


def _frees(
    lake: Lake, config: SelectConfig, selection: Selection, collection: str, subset: str | None
) -> list[tuple[int, str]]:
    own = pl.col("collection").eq(collection) & pl.col("subset").eq_missing(pl.lit(subset, pl.String))
    found: list[tuple[int, str]] = []
    for reason, n, elsewhere in selection.left.filter(own).select("reason", "n", "elsewhere").iter_rows():
        if reason in _MENDS:
            found.append((n, _MENDS[Reason(reason)]))
        if reason == Reason.DUPLICATE and elsewhere:
            mend = "raise its place in `keep_order`"
            mend += "" if config.keepers == "quota" else ', or set keepers = "quota"'
            found.append((elsewhere, f"are duplicates of rows of other quotas: {mend}"))
        if reason == Reason.DUPLICATE and n > elsewhere:
            mend = "add others"
            mend += "" if config.duplicate_threshold is None else ", or raise `duplicate_threshold`"
            mend += "" if config.duplicate_phash is None else ", or lower `duplicate_phash`"
            found.append((n - elsewhere, f"are duplicates of rows of its own: {mend}"))
    parts = selection.left.filter(pl.col("collection").eq(collection) & pl.col("subset").is_null())
    no_part = int(parts.filter(pl.col("reason") == Reason.NO_QUOTA)["n"].sum())
    if no_part and subset is not None:
        found.append((no_part, f"rows of {collection} are in no part of its quota: widen one"))
    query = (
        f"SELECT reason, count(*) FROM lake.fetch_failures AT (VERSION => {selection.snapshot:d}) WHERE collection = ? "
        "GROUP BY reason ORDER BY count(*) DESC, reason"
    )
    failed = lake.rows(query, [collection])
    if failed:
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in failed)
        retry = "try them again with  captionlake ingest --retry-failed"
        found.append((sum(n for _, n in failed), f"pictures of {collection} could not be had ({reasons}): {retry}"))
    for name, n in selection.line.group_by("collection").len().sort("collection").iter_rows():
        if name != collection:
            found.append((n, f'are in line for {name} beyond its quota: backfill = "{name}"'))
    return found


def shortfall_lines(found: list[Shortfall]) -> list[str]:
    """For a terminal."""
    lines = []
    for one in found:
        lines.append(f"{one.collection}{'/' + one.subset if one.subset else ''} is {one.n:,} short")
        nothing = (
            "nothing is left out that could fill it: add images"
            if one.known
            else f"the lake has no {one.collection}{one.nearest}"
        )
        lines += [f"  {n:,} {text}" for n, text in one.would_free] or [f"  {nothing}"]
    return lines
