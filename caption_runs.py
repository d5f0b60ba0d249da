"""What ``captionlake caption`` does with a recipe: caption, say what that would cost, show a sample, show the worst."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from captionlake.caption_step import Captioned, brought, by_teacher, estimate_said, prompt_texts
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.pipeline import Run, chooser
from captionlake.recipe import Recipe

if TYPE_CHECKING:
    from captionlake.models.caption_config import CaptionConfig
    from captionlake.models.prompts import PromptSet
    from captionlake.models.teacher import Estimate, TeacherConfig
    from captionlake.models.teacher.sample import Sampled

log = logging.getLogger(__name__)


def caption(recipe: Recipe, *, redo: bool = False, foretell: Callable[[str], None] = log.info) -> Captioned:
    """The step caption of a recipe, of its lake as it is. ``redo``: new captions by the teacher beside those that are there."""
    with _chosen(recipe) as (run, caption_by):
        selection = run.select()
        if caption_by is None:
            if redo:
                raise CaptionlakeError(
                    f"{recipe.path} asks no model for captions, so none can be made anew: see [caption]"
                )
            return brought(run.lake, recipe, selection, run.select)
        return by_teacher(run.lake, recipe, selection, run.select, foretell, redo=redo)


def caption_plan(recipe: Recipe) -> "Estimate":
    """What the captions that are missing would cost; nothing is asked."""
    from captionlake.models.teacher import estimate, rows_to_caption

    with _chosen(recipe) as (run, caption_by):
        teacher, prompts = _asked(recipe, caption_by)
        return estimate(run.lake, rows_to_caption(run.lake, _items(run)), teacher, prompts)


def caption_sample(recipe: Recipe, n: int, path: Path) -> "tuple[list[Sampled], str, str]":
    """Caption ``n`` rows of all kinds, and write the page. Returns them, what they cost, and what the rest would, in words."""
    from captionlake.models.teacher import estimate, rows_to_caption
    from captionlake.models.teacher.sample import sample, write_sample

    with _chosen(recipe) as (run, caption_by):
        teacher, prompts = _asked(recipe, caption_by)
        items = _items(run)
        sampled, done = sample(run.lake, items, n, teacher, prompts)
        cost = "at an unknown price" if done.cost_usd is None else f"{done.cost_usd:.4f} US dollars"
        said = f"{len(sampled):,} rows, {done.captioned:,} captions asked for now: {cost}"
        failed = ", ".join(f"{n:,} {reason}" for reason, n in done.failed.items())
        said += f"; no caption came for {failed}" if failed else ""
        rest = f"the rest: {estimate_said(estimate(run.lake, rows_to_caption(run.lake, items), teacher, prompts))}"
        write_sample(run.lake, sampled, teacher.captions_by, said, rest, path)
    return sampled, said, rest


def caption_review(recipe: Recipe, path: Path) -> int:
    """Check the recipe's captions for flags, and write the page of the worst. Returns how many it shows."""
    from captionlake.curation.flags import FlagConfig, flag_captions
    from captionlake.curation.flags.review_page import write_review
    from captionlake.models.teacher import rows_to_caption

    with _chosen(recipe) as (run, caption_by):
        config, texts = recipe.flags or FlagConfig(), {}
        producer = caption_by.captions_by if caption_by is not None else _caption_config(recipe).captioner
        if caption_by is not None:
            _, prompts = _asked(recipe, caption_by)
            texts = prompt_texts(prompts, rows_to_caption(run.lake, _items(run)))
        flag_captions(run.lake, config, producer=producer, prompts=texts)
        return write_review(run.lake, config, path, producer=producer, prompts=texts).shown


@contextmanager
def _chosen(recipe: Recipe) -> "Iterator[tuple[Run, TeacherConfig | None]]":
    config = _caption_config(recipe)
    with Lake.open(recipe.lake) as lake:
        yield chooser(lake, recipe), config.teacher()


def _caption_config(recipe: Recipe) -> "CaptionConfig":
    if recipe.caption is None:
        raise CaptionlakeError(f"{recipe.path} has no [caption]: add one with a captioner")
    return recipe.caption


def _asked(recipe: Recipe, teacher: "TeacherConfig | None") -> "tuple[TeacherConfig, PromptSet]":
    from captionlake.models.caption_config import PROMPTS
    from captionlake.models.prompts import PromptSet

    if teacher is None:
        raise CaptionlakeError(f'{recipe.path} asks no model for captions: set captioner = "openai:MODEL" in [caption]')
    return teacher, PromptSet.read(_caption_config(recipe).prompts or PROMPTS)


def _items(run: Run) -> pa.Table:
    table: pa.Table = run.select().items.select("source", "source_key", "collection", "subset").to_arrow()
    return table
