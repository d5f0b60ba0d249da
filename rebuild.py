"""A release made again from what it stores, its recipe and its snapshot, and compared with what it is; nothing is written."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.releases.exported_release import TAKEN_OVER
from captionlake.lake.releases.release import Draft, Release, draft_items, find_release
from captionlake.pipeline import Run, RunReport
from captionlake.recipe import Recipe, stored_recipe

if TYPE_CHECKING:
    from captionlake.curation.selection import Selection

_SHOWN = 10
_REFUSED = {"source": pl.String, "source_key": pl.String, "detail": pl.String}
# A row of items and of exclusions at a time, as it is stored (s) and as it came now (n).
_ITEMS = """
SELECT source || ':' || source_key, CASE WHEN n.row_sha256 IS NULL THEN 'a row of the release, not chosen now'
    WHEN s.row_sha256 IS NULL THEN 'chosen now, no row of the release' ELSE 'other captions or another split' END
FROM (FROM release_items WHERE name = $name AND version = $version) s FULL JOIN _items n USING (source, source_key)
WHERE s.row_sha256 IS DISTINCT FROM n.row_sha256 ORDER BY 1
"""
# What is told of a caption that was refused may depend on what its model answered then: it is not compared.
_EXCLUSIONS = """
WITH s AS (SELECT *, true AS there FROM exclusions WHERE name = $name AND version = $version), n AS (SELECT *, true AS there FROM _left)
SELECT source || ':' || source_key, CASE WHEN n.there IS NULL THEN 'left out for ' || s.reason || ', not now'
    WHEN s.there IS NULL THEN 'left out now for ' || n.reason || ', not of the release'
    ELSE 'left out for ' || concat_ws(', ', s.reason, s.detail) || ', now for ' || concat_ws(', ', n.reason, n.detail) END
FROM s FULL JOIN n USING (source, source_key)
WHERE s.there IS NULL OR n.there IS NULL OR s.reason <> n.reason
   OR (s.reason <> 'flagged' AND s.detail IS DISTINCT FROM n.detail)
   OR s.keeper_source IS DISTINCT FROM n.keeper_source OR s.keeper_key IS DISTINCT FROM n.keeper_key
   OR s.similarity IS DISTINCT FROM n.similarity
ORDER BY 1
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rebuilt:
    """``items`` rows chosen again, with the hash of their content. ``n_differ``: rows and exclusions that are not as stored; ``differ``
    tells the first."""

    release: str
    snapshot: int
    items: int
    excluded: int
    content_sha256: str
    stored_sha256: str
    n_differ: int
    differ: list[str] = field(default_factory=list)

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not self.n_differ and self.content_sha256 == self.stored_sha256


def rebuild(lake: Lake, label: str, folder: Path) -> Rebuilt:
    """Choose the rows of ``name@version`` again; relative paths of its recipe are taken from ``folder``.

    Raises where it cannot be had again: it was redacted, it is no release of images, or its recipe needs what is not there.
    """
    release = find_release(lake, label)
    _check(lake, release)
    text = lake.value("SELECT recipe FROM releases WHERE name = ? AND version = ?", [release.name, release.version])
    recipe = stored_recipe(label, text, lake.path, folder)
    draft = _choose(lake, release, recipe)
    items, content = draft_items(lake, draft)
    given = {"name": release.name, "version": release.version}
    with lake.registered(_items=items, _left=draft.exclusions):
        found = [*lake.rows(_ITEMS, given), *lake.rows(_EXCLUSIONS, given)]
    return Rebuilt(
        release=label,
        snapshot=release.snapshot_id,
        items=items.num_rows,
        excluded=draft.exclusions.num_rows,
        content_sha256=content,
        stored_sha256=release.content_sha256,
        n_differ=len(found),
        differ=[f"{name}: {what}" for name, what in found[:_SHOWN]],
    )


def _check(lake: Lake, release: Release) -> None:
    if release.kind != "images":
        raise CaptionlakeError(
            f"{release.label} is a release of kind {release.kind}: make it again with  captionlake mix RECIPE, which says whether "
            "it is the same"
        )
    if lake.value("SELECT count(*) FROM runs WHERE step = ? AND target = ?", [TAKEN_OVER, release.label]):
        raise CaptionlakeError(
            f"{release.label} was taken over from an export: make it again in the lake in which its rows were chosen"
        )
    given: dict[str, Any] = {"name": release.name, "version": release.version}
    where = "WHERE name = $name AND version = $version"
    holes = lake.value(f"SELECT count(*) FROM release_items {where} AND source IS NULL", given)
    if holes or release.state == "redacted":
        raise CaptionlakeError(
            f"{release.label} cannot be had again: the pictures of {holes:,} of its rows were taken down since"
        )
    there = lake.value("SELECT count(*) FROM ducklake_snapshots('lake') WHERE snapshot_id = ?", [release.snapshot_id])
    if not there:
        raise CaptionlakeError(
            f"{release.label} pins snapshot {release.snapshot_id}, which the lake no longer has: restore the lake from a backup"
        )
    total = lake.value(f"SELECT count(*) FROM images AT (VERSION => {release.snapshot_id:d})")
    told = release.n_items + lake.value(f"SELECT count(*) FROM exclusions {where}", given)
    if total != told:
        raise CaptionlakeError(
            f"{release.label} cannot be had again: it was pinned anew after a takedown, to snapshot {release.snapshot_id} with "
            f"{total:,} images, and chose among {told:,} or more"
        )


def _choose(lake: Lake, release: Release, recipe: Recipe) -> Draft:
    job = Run(lake, recipe, RunReport(lake.path))
    job.snapshot = release.snapshot_id
    if recipe.embed is not None and recipe.select is not None and recipe.select.duplicate_threshold is not None:
        job.model_id = _model_id(lake, recipe, release.snapshot_id)
    caption = recipe.caption
    if caption is None:
        return job.draft(job.select(), None)
    if not caption.is_brought:
        return job.draft(*_by_model(job, release.snapshot_id))
    refused = None
    if caption.refuse:
        from captionlake.curation.flags import refused_rows

        refused = refused_rows(lake, caption.refuse, captioned_by=caption.captioner, snapshot=release.snapshot_id)
    return job.draft(job.select(refused), None)


def _model_id(lake: Lake, recipe: Recipe, snapshot: int) -> str:
    """The only model that had embedded then, else the one that the recipe names, for which it is loaded."""
    known = lake.rows(f"SELECT DISTINCT model_id FROM embeddings AT (VERSION => {snapshot:d})")
    if len(known) == 1:
        return str(known[0][0])
    from captionlake.curation.embedding import model_id

    assert recipe.embed is not None
    return model_id(recipe.embed)


def _by_model(job: Run, snapshot: int) -> "tuple[Selection, pa.Table]":
    """The choice with the captions that a model had written then; rows without one give their place to the next, as in the step."""
    from captionlake.models.captions import accepted

    assert job.recipe.caption is not None
    model, refuse = job.recipe.caption.model(), job.recipe.caption.refuse
    refused = pl.DataFrame(schema=_REFUSED)
    selection = job.select()
    while True:
        items = selection.items.select("source", "source_key").to_arrow()
        found = accepted(job.lake, items, model, snapshot=snapshot, refuse=refuse)
        frame = pl.from_arrow(found)
        assert isinstance(frame, pl.DataFrame)
        missing = frame.filter(pl.col("caption_id").is_null())
        if missing.is_empty():
            return selection, found.select(["source", "source_key", "caption_id"])
        told = missing.select("source", "source_key", detail=pl.coalesce("refused", pl.lit("no caption")))
        refused = pl.concat([refused, told])
        selection = job.select(refused)
