"""The proof of a release's quotas: each picture of the lake counted once, and the SQL that counts it again.

The queries read the release's own rows and the images at its snapshot; who is in which quota follows from the recipe that the
release stores. Nothing of the selection is used.
"""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import duckdb
from pydantic import TypeAdapter, ValidationError

from captionlake.curation.candidates import PREDICATE_TABLES, conditions
from captionlake.curation.quota_tree import Leaf, leaves
from captionlake.curation.select_config import SelectConfig
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.catalog import first_line, quote
from captionlake.lake.releases.names import parse_release, release_row

PICKED, UNACCOUNTED = "picked", "unaccounted"


@dataclass(frozen=True, kw_only=True, slots=True)
class Count:
    """A quota or part: ``pool`` rows of images at the snapshot are its own; ``picked`` plus ``excluded`` by reason make up the pool.

    ``wanted`` is None for all, and for rows that no quota takes. ``unaccounted`` counts rows that the release does not name, or names
    twice: 0 in a release that is whole. ``sql`` recounts it, with  captionlake sql.
    """

    quota: str
    wanted: int | None
    pool: int
    picked: int
    excluded: dict[str, int]
    unaccounted: int
    sql: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """All quotas of a release; their pools together are the ``images`` rows of the lake at ``snapshot``."""

    release: str
    snapshot: int
    images: int
    counts: list[Count]

    @property
    def holds(self) -> bool:
        """Whether each row is in one pool and has one outcome."""
        return sum(count.pool for count in self.counts) == self.images and not any(c.unaccounted for c in self.counts)


def prove(lake: Lake, label: str) -> Proof:
    """Count the quotas of the release ``name@version``."""
    name, version = parse_release(label)
    columns = "recipe, snapshot_id, kind"
    recipe, snapshot, kind = cast("tuple[str, int, str]", release_row(lake.connection, name, version, columns))
    if kind != "images":
        raise CaptionlakeError(f"{label} is a release of kind {kind}: quotas are those of a release of images")
    config = _config(label, recipe)
    tables = _tables(config)
    counts = []
    try:
        for quota, wanted, pool in _pools(lake, config, leaves(config), snapshot):
            sql = _sql(name, version, snapshot, tables, pool)
            found = dict(lake.rows(sql))
            picked, unaccounted = found.pop(PICKED, 0), found.pop(UNACCOUNTED, 0)
            counts.append(
                Count(
                    quota=quota,
                    wanted=wanted,
                    pool=picked + unaccounted + sum(found.values()),
                    picked=picked,
                    excluded=found,
                    unaccounted=unaccounted,
                    sql=sql,
                )
            )
        images = lake.value(f"SELECT count(*) FROM lake.images AT (VERSION => {snapshot:d})")
    except duckdb.Error as error:
        raise CaptionlakeError(
            f"{label} cannot be counted again at its snapshot {snapshot} ({first_line(error)}): "
            "look whether the snapshot is still there with  captionlake release verify"
        ) from error
    return Proof(release=label, snapshot=snapshot, images=images, counts=counts)


def _config(label: str, recipe: str) -> SelectConfig:
    try:
        return TypeAdapter(SelectConfig).validate_python(tomllib.loads(recipe).get("select", {}))
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise CaptionlakeError(
            f"the recipe that {label} stores has no [select] of this version ({' '.join(str(error).split())[:200]}): "
            "count it with the version of captionlake that made it"
        ) from error


def _pools(lake: Lake, config: SelectConfig, tree: list[Leaf], snapshot: int) -> Iterator[tuple[str, int | None, str]]:
    """Name, number wanted and condition of each quota and part, then of what none of them takes."""
    if not config.quota:
        query = f"SELECT DISTINCT collection FROM lake.images AT (VERSION => {snapshot:d}) ORDER BY collection"
        for (collection,) in lake.rows(query):
            yield collection, None, f"collection = {quote(collection)}"
        return
    for leaf in tree:
        yield leaf.name, leaf.wanted, " AND ".join(leaf.conditions)
    for number, quota in enumerate(config.quota):
        parts = [" AND ".join(leaf.conditions[1:]) for leaf in tree if leaf.quota == number]
        if any(parts):
            others = " OR ".join(f"({part})" for part in parts)
            yield f"{quota.collection}: no part", None, f"collection = {quote(quota.collection)} AND NOT ({others})"
    named = ", ".join(quote(quota.collection) for quota in config.quota)
    yield "no quota", None, f"collection NOT IN ({named})"


def _tables(config: SelectConfig) -> list[str]:
    """The tables that conditions of quotas and parts may name, beside images."""
    texts = "\n".join(conditions(config)).lower()
    return ["images", *(name for name in PREDICATE_TABLES[1:] if re.search(rf"\b{name}\b", texts))]


def _sql(name: str, version: str, snapshot: int, tables: list[str], pool: str) -> str:
    pinned = ", ".join(f"{table} AS (FROM lake.{table} AT (VERSION => {snapshot:d}))" for table in tables)
    release = f"name = {quote(name)} AND version = {quote(version)}"
    return (
        f"WITH {pinned},\n"
        f"pool AS (SELECT source, source_key FROM images WHERE {pool}),\n"
        f"named AS (SELECT source, source_key, '{PICKED}' AS outcome FROM release_items WHERE {release}\n"
        f"          UNION ALL SELECT source, source_key, reason FROM exclusions WHERE {release})\n"
        f"SELECT outcome, count(*) AS images FROM (\n"
        f"    SELECT CASE count(outcome) WHEN 1 THEN min(outcome) ELSE '{UNACCOUNTED}' END AS outcome\n"
        "    FROM pool LEFT JOIN named USING (source, source_key) GROUP BY source, source_key\n"
        ") GROUP BY outcome ORDER BY outcome"
    )


def proof_rows(proof: Proof) -> tuple[list[str], list[list[Any]]]:
    """A header and a row a quota, for a table."""
    reasons = list(dict.fromkeys(reason for count in proof.counts for reason in sorted(count.excluded)))
    if any(count.unaccounted for count in proof.counts):
        reasons.append(UNACCOUNTED)
    header = ["quota", "wanted", "pool", *reasons, PICKED]
    rows = []
    for count in proof.counts:
        left = count.excluded | {UNACCOUNTED: count.unaccounted}
        wanted = "all" if count.wanted is None and not count.quota.endswith(("no part", "no quota")) else count.wanted
        rows.append([count.quota, wanted, count.pool, *(left.get(reason, 0) for reason in reasons), count.picked])
    return header, rows
