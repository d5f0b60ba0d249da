"""What ``captionlake caption`` does: caption, say what that would cost, show a sample, show the worst; of a recipe's rows or a lake's."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from captionlake.caption_step import Captioned, brought, by_model, prompt_texts
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.engines import LOCAL, Engine
from captionlake.pipeline import Run, chooser
from captionlake.recipe import Recipe

if TYPE_CHECKING:
    from captionlake.models.caption_config import CaptionConfig
    from captionlake.models.captions import Captioner, Expected
    from captionlake.models.captions.sample import Sampled
    from captionlake.models.running import CaptionerRun

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The rows that a recipe chooses from its lake as it is, captioned as it says."""

    recipe: Recipe


@dataclass(frozen=True, slots=True)
class InLake:
    """All pictures of a lake."""

    lake: Path
    caption: "CaptionConfig"


Pictures = Chosen | InLake


def caption(
    recipe: Recipe, *, redo: bool = False, foretell: Callable[[str], None] = log.info, engine: Engine = LOCAL
) -> Captioned:
    """The step caption of a recipe, of its lake as it is. ``redo``: new captions by the model beside those that are there."""
    with _chosen(recipe) as (run, config):
        selection = run.select()
        if config.is_brought:
            if redo:
                raise CaptionlakeError(
                    f"{recipe.path} asks no model for captions, so none can be made anew: see [caption]"
                )
            return brought(run.lake, recipe, selection, run.select)
        return by_model(run.lake, recipe, selection, run.select, foretell, redo=redo, engine=engine)


def caption_lake(
    of: InLake,
    *,
    limit: int | None = None,
    redo: bool = False,
    foretell: Callable[[str], None] = log.info,
    engine: Engine = LOCAL,
) -> "CaptionerRun":
    """Captions by a checkpoint of pictures that have none by it yet, at most ``limit``."""
    from captionlake.models.captions import rows_to_caption

    model = of.caption.checkpoint()
    with Lake.open(of.lake) as lake:
        rows = rows_to_caption(lake)
        foretell(model.expect(lake, rows).said)
        return model.caption(lake, rows, redo=redo, limit=limit, engine=engine)


def caption_plan(of: Pictures) -> "Expected":
    """What the captions that are missing would take; none is made."""
    from captionlake.models.captions import rows_to_caption

    with _items(of) as (lake, items, config):
        return _model(of, config).expect(lake, rows_to_caption(lake, items))


def caption_sample(of: Pictures, n: int, path: Path) -> "tuple[list[Sampled], str, str]":
    """Caption ``n`` rows of all kinds, and write the page. Returns them, what they took, and what the rest would, in words."""
    from captionlake.models.captions import rows_to_caption
    from captionlake.models.captions.sample import sample, write_sample

    with _items(of) as (lake, items, config):
        model = _model(of, config)
        sampled, done = sample(lake, items, n, model)
        said = f"{len(sampled):,} rows, {done.captioned:,} captions asked for now: {done.said}"
        failed = ", ".join(f"{n:,} {reason}" for reason, n in done.failed.items())
        said += f"; no caption came for {failed}" if failed else ""
        rest = f"the rest: {model.expect(lake, rows_to_caption(lake, items)).said}"
        write_sample(lake, sampled, model.captions_by, said, rest, path)
    return sampled, said, rest


def caption_review(of: Pictures, path: Path) -> int:
    """Check the captions for flags, and write the page of the worst. Returns how many it shows."""
    from captionlake.curation.flags import FlagConfig, flag_captions
    from captionlake.curation.flags.review_page import write_review
    from captionlake.models.captions import rows_to_caption

    with _items(of) as (lake, items, caption_by):
        flags = of.recipe.flags if isinstance(of, Chosen) else None
        config, texts, producer = flags or FlagConfig(), {}, caption_by.captioner
        if not caption_by.is_brought:
            model = caption_by.model()
            texts, producer = prompt_texts(model, rows_to_caption(lake, items)), model.captions_by
        flag_captions(lake, config, producer=producer, prompts=texts)
        return write_review(lake, config, path, producer=producer, prompts=texts).shown


@contextmanager
def _chosen(recipe: Recipe) -> "Iterator[tuple[Run, CaptionConfig]]":
    if recipe.caption is None:
        raise CaptionlakeError(f"{recipe.path} has no [caption]: add one with a captioner")
    with Lake.open(recipe.lake) as lake:
        yield chooser(lake, recipe), recipe.caption


@contextmanager
def _items(of: Pictures) -> "Iterator[tuple[Lake, pa.Table, CaptionConfig]]":
    """The rows: source, source_key, collection, subset."""
    names = ["source", "source_key", "collection", "subset"]
    if isinstance(of, InLake):
        with Lake.open(of.lake) as lake:
            yield lake, lake.arrow(f"SELECT {', '.join(names)} FROM images"), of.caption
        return
    with _chosen(of.recipe) as (run, config):
        yield run.lake, run.select().items.select(names).to_arrow(), config


def _model(of: Pictures, config: "CaptionConfig") -> "Captioner":
    if config.is_brought and isinstance(of, Chosen):
        raise CaptionlakeError(
            f'{of.recipe.path} asks no model for captions: set captioner = "openai:MODEL", or a checkpoint, in [caption]'
        )
    return config.model()
