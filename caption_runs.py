"""What ``captionlake caption`` does with a recipe: caption, say what that would cost, show a sample, show the worst."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from captionlake.caption_step import Captioned, brought, by_model, prompt_texts
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.pipeline import Run, chooser
from captionlake.recipe import Recipe

if TYPE_CHECKING:
    from captionlake.models.caption_config import CaptionConfig
    from captionlake.models.captions import Captioner, Expected
    from captionlake.models.captions.sample import Sampled

log = logging.getLogger(__name__)


def caption(recipe: Recipe, *, redo: bool = False, foretell: Callable[[str], None] = log.info) -> Captioned:
    """The step caption of a recipe, of its lake as it is. ``redo``: new captions by the model beside those that are there."""
    with _chosen(recipe) as (run, config):
        selection = run.select()
        if config.is_brought:
            if redo:
                raise CaptionlakeError(
                    f"{recipe.path} asks no model for captions, so none can be made anew: see [caption]"
                )
            return brought(run.lake, recipe, selection, run.select)
        return by_model(run.lake, recipe, selection, run.select, foretell, redo=redo)


def caption_plan(recipe: Recipe) -> "Expected":
    """What the captions that are missing would take; none is made."""
    from captionlake.models.captions import rows_to_caption

    with _chosen(recipe) as (run, config):
        return _model(recipe, config).expect(run.lake, rows_to_caption(run.lake, _items(run)))


def caption_sample(recipe: Recipe, n: int, path: Path) -> "tuple[list[Sampled], str, str]":
    """Caption ``n`` rows of all kinds, and write the page. Returns them, what they took, and what the rest would, in words."""
    from captionlake.models.captions import rows_to_caption
    from captionlake.models.captions.sample import sample, write_sample

    with _chosen(recipe) as (run, config):
        model = _model(recipe, config)
        items = _items(run)
        sampled, done = sample(run.lake, items, n, model)
        said = f"{len(sampled):,} rows, {done.captioned:,} captions asked for now: {done.said}"
        failed = ", ".join(f"{n:,} {reason}" for reason, n in done.failed.items())
        said += f"; no caption came for {failed}" if failed else ""
        rest = f"the rest: {model.expect(run.lake, rows_to_caption(run.lake, items)).said}"
        write_sample(run.lake, sampled, model.captions_by, said, rest, path)
    return sampled, said, rest


def caption_review(recipe: Recipe, path: Path) -> int:
    """Check the recipe's captions for flags, and write the page of the worst. Returns how many it shows."""
    from captionlake.curation.flags import FlagConfig, flag_captions
    from captionlake.curation.flags.review_page import write_review
    from captionlake.models.captions import rows_to_caption

    with _chosen(recipe) as (run, caption_by):
        config, texts, producer = recipe.flags or FlagConfig(), {}, caption_by.captioner
        if not caption_by.is_brought:
            model = caption_by.model()
            texts, producer = prompt_texts(model, rows_to_caption(run.lake, _items(run))), model.captions_by
        flag_captions(run.lake, config, producer=producer, prompts=texts)
        return write_review(run.lake, config, path, producer=producer, prompts=texts).shown


@contextmanager
def _chosen(recipe: Recipe) -> "Iterator[tuple[Run, CaptionConfig]]":
    if recipe.caption is None:
        raise CaptionlakeError(f"{recipe.path} has no [caption]: add one with a captioner")
    with Lake.open(recipe.lake) as lake:
        yield chooser(lake, recipe), recipe.caption


def _model(recipe: Recipe, config: "CaptionConfig") -> "Captioner":
    try:
        return config.model()
    except CaptionlakeError as error:
        raise CaptionlakeError(f"{recipe.path}: {error}") from error


def _items(run: Run) -> pa.Table:
    table: pa.Table = run.select().items.select("source", "source_key", "collection", "subset").to_arrow()
    return table
