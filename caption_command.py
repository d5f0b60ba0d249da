"""``captionlake caption RECIPE``: the step caption alone, its price, a sample of it, and the worst of what came."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from captionlake.lake.options import emit, json_option, printable

if TYPE_CHECKING:
    from captionlake.recipe import Recipe


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--plan", is_flag=True, help="Say how many captions are missing and what they would cost; ask for none.")
@click.option(
    "--sample", type=click.IntRange(1, 1000), metavar="N", help="Ask for N captions, some of each kind, and show them."
)
@click.option("--redo", is_flag=True, help="Ask for new captions beside those that are there; the newest is taken.")
@click.option(
    "--review", is_flag=True, help="Make a page of the captions with the most flags, with their pictures; ask for none."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The page of --sample (default sample.html) or --review (default review.html).",
)
@json_option
def caption(
    recipe: Path, plan: bool, sample: int | None, redo: bool, review: bool, output: Path | None, as_json: bool
) -> None:
    """Caption the rows that a RECIPE chooses from its lake as it is. What is there already is not asked for again."""
    from captionlake.recipe import load_recipe

    if plan + redo + review + (sample is not None) > 1:
        raise click.UsageError("--plan, --sample, --redo and --review are for one at a time")
    if output is not None and sample is None and not review:
        raise click.UsageError("-o belongs to --sample or --review")
    read = load_recipe(recipe)
    if review:
        data, text = _review(read, output or Path("review.html"))
    elif sample is not None:
        data, text = _sample(read, sample, output or Path("sample.html"))
    elif plan:
        data, text = _plan(read)
    else:
        data, text = _caption(read, redo)
    emit(as_json, data, text)


def _caption(recipe: "Recipe", redo: bool) -> tuple[dict[str, object], str]:
    from captionlake.caption_runs import caption

    done = caption(recipe, redo=redo, foretell=lambda said: click.echo(printable(said), err=True))
    return done.counts, printable(done.said)


def _plan(recipe: "Recipe") -> tuple[dict[str, object], str]:
    from captionlake.caption_runs import caption_plan
    from captionlake.caption_step import estimate_said

    expected = caption_plan(recipe)
    return asdict(expected), printable(estimate_said(expected))


def _sample(recipe: "Recipe", n: int, path: Path) -> tuple[dict[str, object], str]:
    from captionlake.caption_runs import caption_sample

    sampled, said, rest = caption_sample(recipe, n, path)
    lines = [f"{one.row} ({one.prompt_id}): {one.text or 'no caption came'}" for one in sampled]
    text = "\n".join(printable(line) for line in [*lines, said, rest])
    return {
        "sample": [asdict(one) for one in sampled],
        "said": said,
        "rest": rest,
        "page": str(path),
    }, f"{text}\nopen {path}"


def _review(recipe: "Recipe", path: Path) -> tuple[dict[str, object], str]:
    from captionlake.caption_runs import caption_review

    shown = caption_review(recipe, path)
    return {"shown": shown, "page": str(path)}, f"{shown:,} captions with flags, the worst first: open {path}"


commands: list[click.Command] = [caption]
