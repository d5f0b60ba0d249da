"""Every row of ``images`` with all that decides about it, by one query at the snapshot of the selection."""

import json
import re
from importlib.resources import files

import duckdb
import polars as pl

from captionlake.curation.quota_tree import Leaf
from captionlake.curation.select_config import SelectConfig
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.catalog import first_line, quote
from captionlake.lake.gate import check_order, check_predicate

#: tables that a condition or an order may read beside the columns of images, at the selection's snapshot
PREDICATE_TABLES = (
    "images",
    "sources",
    "captions",
    "caption_flags",
    "caption_scores",
    "caption_words",
    "contamination",
)


def candidates(
    lake: Lake, config: SelectConfig, leaves: list[Leaf], captioned_by: str | None, snapshot: int
) -> pl.DataFrame:
    """A row of images each: source, source_key, image_id, collection, subset, pixels; what decides about it: passes, leaf (its
    quota's or part's place in ``leaves``; null: none), quota (likewise of its collection), quota_passes, captioned,
    benchmark_item, included, excluded (releases that have the row, and the picture), in_excluded (that has the row too); and draw,
    its place in the order in which its leaf is drawn from.
    """
    for text in conditions(config):
        check_predicate(lake.connection, text, PREDICATE_TABLES)
        _refuse_other_snapshots(lake, f"FROM images WHERE (\n{text}\n)", "where")
    for text in orders(config):
        check_order(lake.connection, text, PREDICATE_TABLES)
        _refuse_other_snapshots(lake, f"FROM images ORDER BY {text}\n", "order")
    query = files("captionlake.curation").joinpath("sql/candidates.sql").read_text()
    texts = {
        "$pinned": pinned(snapshot, PREDICATE_TABLES),
        "$items": f"lake.release_items AT (VERSION => {snapshot:d})",
        "$row_passes": _passes(config.where),
        "$quota_passes": _quota_passes(config),
        "$quota_place": _quota_place(config),
        "$leaf_place": _leaf_place(leaves),
        "$draw_place": _draw_place(leaves, bool(config.include)),
    }
    # In one pass: a name within the user's own text is none.
    query = re.sub("|".join(map(re.escape, texts)), lambda found: texts[found[0]], query)
    parameters: dict[str, object] = {
        "seed": config.seed,
        "producer": captioned_by,
        "included": list(config.include),
        "excluded": list(config.exclude),
    }
    try:
        return frame(lake, query, parameters)
    except duckdb.Error as error:
        said = "; ".join([*conditions(config), *orders(config)]) or "true"
        raise CaptionlakeError(
            f"rows cannot be chosen at snapshot {snapshot} where {said} ({first_line(error)}): "
            "check the condition against the columns of images, and that the snapshot exists"
        ) from error


def frame(lake: Lake, query: str, parameters: list[object] | dict[str, object] | None = None) -> pl.DataFrame:
    """The result of a query."""
    found = pl.from_arrow(lake.arrow(query, parameters))
    assert isinstance(found, pl.DataFrame)
    return found


def pinned(snapshot: int, tables: tuple[str, ...]) -> str:
    """Members of a WITH that show each table at a snapshot, under its own name."""
    return ",\n".join(f"{name} AS (FROM lake.{name} AT (VERSION => {snapshot:d}))" for name in tables)


def conditions(config: SelectConfig) -> list[str]:
    """The user's own, each once: of all rows, of quotas, of parts."""
    found = [config.where]
    waiting = list(config.quota)
    for quota in waiting:
        found.append(quota.where)
    parts = [part for quota in waiting for part in quota.part]
    while parts:
        part = parts.pop(0)
        found.append(part.where)
        parts += part.part
    return list(dict.fromkeys(text for text in found if text is not None))


def orders(config: SelectConfig) -> list[str]:
    """The user's own, each once."""
    found = [config.order, *(quota.order for quota in config.quota)]
    parts = [part for quota in config.quota for part in quota.part]
    while parts:
        part = parts.pop(0)
        found.append(part.order)
        parts += part.part
    return list(dict.fromkeys(text for text in found if text is not None))


def _passes(where: str | None) -> str:
    """Whether a condition holds; the user's text stands on lines of its own, so that its comments end there."""
    return "true" if where is None else f"coalesce(CAST((\n{where}\n) AS BOOLEAN), false)"


def _quota_passes(config: SelectConfig) -> str:
    cases = [
        f"WHEN collection = {quote(quota.collection)} THEN {_passes(quota.where)}"
        for quota in config.quota
        if quota.where is not None
    ]
    return f"CASE {' '.join(cases)} ELSE true END" if cases else "true"


def _quota_place(config: SelectConfig) -> str:
    """The place of a row's quota in the recipe, by its collection; 0 for all rows where there are no quotas."""
    cases = [f"WHEN collection = {quote(quota.collection)} THEN {n}" for n, quota in enumerate(config.quota)]
    return f"CASE {' '.join(cases)} END" if cases else "0"


def _leaf_place(leaves: list[Leaf]) -> str:
    cases = [f"WHEN {' AND '.join(leaf.conditions)} THEN {n}" for n, leaf in enumerate(leaves)]
    return f"CASE {' '.join(cases)} END" if cases else "0"


def _draw_place(leaves: list[Leaf], include: bool) -> str:
    """Included rows first, then by the leaf's order, then by the seed."""
    place = _leaf_place(leaves)
    included = ["(source, source_key) IN (SELECT (source, source_key) FROM included) DESC"] if include else []
    ticket = "sha256(concat($seed, ':', strlen(source), ':', source, ':', source_key))"
    by_order: dict[str | None, list[int]] = {}
    for number, leaf in enumerate(leaves):
        by_order.setdefault(leaf.order, []).append(number)
    windows = []
    for order, numbers in (by_order or {None: [0]}).items():
        keys = ", ".join([*included, *([] if order is None else [f"\n{order}\n"]), ticket, "source", "source_key"])
        windows.append((numbers, f"row_number() OVER (PARTITION BY {place} ORDER BY {keys})"))
    if len(windows) == 1:
        return windows[0][1]
    cases = [f"WHEN {place} IN ({', '.join(map(str, numbers))}) THEN {window}" for numbers, window in windows]
    return f"CASE {' '.join(cases)} END"


def _refuse_other_snapshots(lake: Lake, clause: str, where: str) -> None:
    """A table with its catalog or with AT would be read at a snapshot other than the selection's."""
    nodes = [json.loads(lake.value("SELECT json_serialize_sql(?::VARCHAR)", [clause]))]
    while nodes:
        node = nodes.pop()
        if isinstance(node, dict):
            qualified = node.get("type") == "BASE_TABLE" and (node.get("catalog_name") or node.get("schema_name"))
            if qualified or node.get("at_clause"):
                raise CaptionlakeError(
                    f"the table {node.get('table_name')} in {where} is named with its catalog or with AT: name it alone, "
                    "it is read at the snapshot of the selection"
                )
        nodes += list(node.values()) if isinstance(node, dict) else node if isinstance(node, list) else []
