"""The step ``caption`` of a recipe: choose, caption, look for flags, and choose again in the place of what is refused."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.engines import LOCAL, Engine
from captionlake.recipe import Recipe

if TYPE_CHECKING:
    from captionlake.curation.selection import Selection
    from captionlake.models.captions import Captioner, Done

#: chooses rows; the frame (source, source_key, detail) names those that are refused
Choose = Callable[[pl.DataFrame | None], "Selection"]
_REFUSED = {"source": pl.String, "source_key": pl.String, "detail": pl.String}


@dataclass(frozen=True, slots=True)
class Captioned:
    """``selection``: the rows that have an accepted caption, or all of it where none is asked for. ``captions``, of a model: source,
    source_key, caption_id of each."""

    selection: "Selection"
    captions: pa.Table | None
    said: str
    counts: dict[str, Any]


def brought(lake: Lake, recipe: Recipe, selection: "Selection", choose: Choose) -> Captioned:
    """Captions that sources brought; rows whose captions are all refused give their place to the next."""
    from captionlake.models.source_captions import count_source_captions

    assert recipe.caption is not None
    producer, refused = recipe.caption.captioner, None
    if recipe.caption.refuse:
        from captionlake.curation.flags import refused_rows

        _flag(lake, recipe, producer, {})
        refused = refused_rows(lake, recipe.caption.refuse, captioned_by=producer)
        selection = choose(refused)
    keys = selection.items.select("source", "source_key").to_arrow()
    counts = count_source_captions(lake, keys, selection.snapshot, producer)
    texts = "the sources' own texts" if producer == "source" else f"texts by {producer}"
    said = f"{counts.captioned:,} of {counts.rows:,} rows have {texts}: {counts.captions:,} captions"
    said += f", {counts.mean_chars:g} characters on average"
    if refused is not None:
        said += f"; {refused.height:,} rows refused for a flag"
    return Captioned(selection, None, said, asdict(counts) | {"refused": 0 if refused is None else refused.height})


def by_model(
    lake: Lake,
    recipe: Recipe,
    selection: "Selection",
    choose: Choose,
    tell: Callable[[str], None],
    *,
    redo: bool = False,
    engine: Engine = LOCAL,
) -> Captioned:
    """Captions by a model, until every row chosen has an accepted one. ``tell`` hears what is to come.

    ``redo``: new ones for the rows that are chosen at first. ``engine``: where a checkpoint writes them.
    """
    from captionlake.models.captions import accepted, rows_to_caption

    assert recipe.caption is not None
    model, refuse = recipe.caption.model(), recipe.caption.refuse
    refused = pl.DataFrame(schema=_REFUSED)
    runs: list[Done] = []
    while True:
        items = selection.items.select("source", "source_key").to_arrow()
        rows = rows_to_caption(lake, items)
        tell(model.expect(lake, rows).said)
        run = model.caption(lake, rows, redo=redo and not runs, engine=engine)
        runs.append(run)
        _check_whole(run)
        if refuse:
            _flag(lake, recipe, model.captions_by, prompt_texts(model, rows))
        found = accepted(lake, items, model, snapshot=lake.snapshot(), refuse=refuse)
        refused = pl.concat([refused, _without(found, rows, run, model.captions_by)])
        selection = choose(refused)
        if (
            selection.items.select("source", "source_key").to_arrow() == items
        ):  # none refused, and no picture came meanwhile
            break
    counts = _counts(runs, refused)
    said = f"{found.num_rows:,} rows captioned by {model.captions_by}: {counts['captioned']:,} now"
    said += "" if counts.get("cost_usd") is None else f" for {counts['cost_usd']:.2f} US dollars"
    if seconds := counts.get("writing_seconds"):
        said += f" in {seconds:,.1f} s, {counts['captioned'] / seconds:,.2f} images/s"
    said += f"; {refused.height:,} rows refused" if refused.height else ""
    return Captioned(selection, found.select(["source", "source_key", "caption_id"]), said, counts)


def _check_whole(run: "Done") -> None:
    """Raise where captions are missing that may come yet: no row is refused for a moment's failure."""
    if run.waiting:
        raise CaptionlakeError(
            f"{run.waiting:,} captions are with the Batch API: run the same command again when it is done"
        )
    later = {reason: n for reason, n in run.failed.items() if reason not in set(run.given_up.values())}
    if later or run.left:
        why = ", ".join(f"{n:,} {reason}" for reason, n in later.items()) or f"{run.left:,} not asked for"
        raise CaptionlakeError(f"captions are missing that may come yet ({why}): run the same command again")


def _flag(lake: Lake, recipe: Recipe, producer: str, prompts: dict[str, str]) -> None:
    from captionlake.curation.flags import FlagConfig, flag_captions

    flag_captions(lake, recipe.flags or FlagConfig(), producer=producer, prompts=prompts)


def prompt_texts(model: "Captioner", rows: pa.Table) -> dict[str, str]:
    """The prompts' texts by their hash."""
    found = {}
    for batch in rows.to_batches(max_chunksize=5000):
        for row in batch.to_pylist():
            prompt = model.render(row)
            found[prompt.sha256] = prompt.text
    return found


def _without(found: pa.Table, rows: pa.Table, run: "Done", producer: str) -> pl.DataFrame:
    """Rows that have no accepted caption, and why."""
    frame, pictures = pl.from_arrow(found), pl.from_arrow(rows.select(["source", "source_key", "image_id"]))
    assert isinstance(frame, pl.DataFrame) and isinstance(pictures, pl.DataFrame)
    missing = frame.filter(pl.col("caption_id").is_null()).join(pictures, on=["source", "source_key"])
    why = pl.col("image_id").replace_strict(run.given_up, default="none came", return_dtype=pl.String)
    none = pl.format("no caption by {}: {}", pl.lit(producer), why)
    return missing.select("source", "source_key", detail=pl.coalesce("refused", none))


def _counts(runs: "list[Done]", refused: pl.DataFrame) -> dict[str, Any]:
    names = runs[0].costs
    known = {name: [cost for run in runs if (cost := run.costs[name]) is not None] for name in names}
    return {
        "captioned": sum(run.captioned for run in runs),
        **{name: sum(costs) if costs else None for name, costs in known.items()},
        "rounds": len(runs),
        "refused": refused.height,
    }
