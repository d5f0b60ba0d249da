"""``captionlake caption``: of a recipe the step caption alone, its price, a sample, and the worst of what came; or of all pictures."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from captionlake.lake.options import emit, engine_options, json_option, printable

if TYPE_CHECKING:
    from captionlake.caption_runs import Pictures
    from captionlake.lake.engines import Engine

_GENERATION = ("question", "sampling", "seed", "max_tokens", "precision", "device", "batch_size", "workers", "runtime")
_OF = {"runtime": "engine"}  # the keys of [caption.generation] that have another name here
_COUNT = click.IntRange(1)


@click.command()
@click.argument("recipe", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--captioner", metavar="CHECKPOINT", help="Who captions: a checkpoint's folder, or its name on the Hub.")
@click.option(
    "--lake", metavar="DIR", help="Without a RECIPE: the lake whose pictures are captioned (or CAPTIONLAKE_LAKE)."
)
@click.option(
    "--limit", type=_COUNT, metavar="N", help="Without a RECIPE: caption at most N of the pictures that lack a caption."
)
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
@click.option("--question", metavar="TEXT", help="What a checkpoint is asked, in place of what it was trained with.")
@click.option(
    "--sampling",
    type=click.Choice(["greedy", "authors"]),
    help="greedy (default) writes the same text for a picture each time; authors samples as ShareGPT4V's authors did.",
)
@click.option("--seed", type=click.IntRange(0), metavar="N", help="Of --sampling authors (default 0).")
@click.option("--max-tokens", type=_COUNT, metavar="N", help="The longest caption (default 512; of authors 500).")
@click.option("--batch-size", type=_COUNT, metavar="N", help="Pictures in a batch (default 32 on a GPU, else 8).")
@click.option("--device", metavar="NAME", help="cpu, cuda, cuda:1 or auto (default): a GPU where there is one.")
@click.option(
    "--precision", type=click.Choice(["auto", "fp32", "bf16"]), help="auto (default): bf16 where the device has it."
)
@click.option("--workers", type=_COUNT, metavar="N", help="Processes (default one a GPU).")
@click.option(
    "--runtime",
    type=click.Choice(["auto", "transformers", "vllm"]),
    help="What computes (engine of [caption.generation]); auto (default): vLLM where it is and knows the model.",
)
@engine_options()
@json_option
def caption(recipe: Path | None, as_json: bool, engine: str, ray_address: str | None, **options: Any) -> None:
    """Caption the rows that a RECIPE chooses from its lake as it is, or with --captioner all pictures of a lake.

    What is there already is not made again.

    \b
        captionlake caption recipe.toml --sample 20
        captionlake caption --captioner checkpoints/mine --lake lake --limit 1000
    """
    from captionlake.caption_runs import Chosen

    plan, sample, redo, review, output = (options[name] for name in ("plan", "sample", "redo", "review", "output"))
    if plan + redo + review + (sample is not None) > 1:
        raise click.UsageError("--plan, --sample, --redo and --review are for one at a time")
    if output is not None and sample is None and not review:
        raise click.UsageError("-o belongs to --sample or --review")
    if (engine != "local" or ray_address is not None) and (plan or review or sample is not None):
        raise click.UsageError("--engine is for captioning itself")
    if options["limit"] is not None and (plan or review or sample is not None):
        raise click.UsageError("--limit is for captioning itself")
    of = _pictures(recipe, options)
    if review:
        data, text = _review(of, output or Path("review.html"))
    elif sample is not None:
        data, text = _sample(of, sample, output or Path("sample.html"))
    elif plan:
        data, text = _plan(of)
    else:
        from captionlake.lake.engines import engine_of

        with engine_of(engine, ray_address) as chosen:
            if isinstance(of, Chosen):
                data, text = _caption(of, redo, chosen)
            else:
                data, text = _caption_lake(of, options["limit"], redo, chosen)
    emit(as_json, data, text)


def _pictures(recipe: Path | None, options: dict[str, Any]) -> "Pictures":
    """The rows that a recipe chooses, or a whole lake's; and who captions them."""
    from captionlake.caption_runs import Chosen, InLake
    from captionlake.models.caption_config import with_checkpoint

    captioner = options["captioner"]
    generation = {_OF.get(name, name): options[name] for name in _GENERATION if options[name] is not None}
    if recipe is None:
        if captioner is None:
            raise click.UsageError("name a RECIPE, or a checkpoint with --captioner")
        return InLake(_lake(options["lake"]), with_checkpoint(None, captioner, generation))
    if options["lake"] is not None or options["limit"] is not None:
        raise click.UsageError("--lake and --limit are for use without a RECIPE, which names its lake and its rows")
    from captionlake.recipe import load_recipe

    read = load_recipe(recipe)
    if captioner is None and generation and (read.caption is None or not read.caption.is_checkpoint):
        given = ", ".join(f"--{name.replace('_', '-')}" for name in _GENERATION if options[name] is not None)
        raise click.UsageError(f"{given}: for a checkpoint that runs here, name one with --captioner")
    if captioner is not None or generation:
        read = read.captioned_by(captioner, generation)
    return Chosen(read)


def _lake(named: str | None) -> Path:
    from captionlake.lake.options import lake_of

    return lake_of(named)


def _foretold(said: str) -> None:
    click.echo(printable(said), err=True)


def _caption(of: Any, redo: bool, engine: "Engine") -> tuple[dict[str, object], str]:
    from captionlake.caption_runs import caption

    done = caption(of.recipe, redo=redo, foretell=_foretold, engine=engine)
    return done.counts, printable(done.said)


def _caption_lake(of: Any, limit: int | None, redo: bool, engine: "Engine") -> tuple[dict[str, object], str]:
    from captionlake.caption_runs import caption_lake

    run = caption_lake(of, limit=limit, redo=redo, foretell=_foretold, engine=engine)
    lines = [f"{run.captioned:,} captions by {run.producer} written, {run.present:,} were there: {run.said}"]
    lines += [f"no caption for {n:,} pictures: {reason}" for reason, n in run.failed.items()]
    lines += run.failures
    lines += [f"{run.cut_off:,} captions end at the most tokens, in the middle"] if run.cut_off else []
    lines += [f"{run.left:,} are left: run the same command again"] if run.left else []
    return asdict(run), "\n".join(printable(line) for line in lines)


def _plan(of: "Pictures") -> tuple[dict[str, object], str]:
    from captionlake.caption_runs import caption_plan

    expected: Any = caption_plan(of)
    return asdict(expected), printable(expected.said)


def _sample(of: "Pictures", n: int, path: Path) -> tuple[dict[str, object], str]:
    from captionlake.caption_runs import caption_sample

    sampled, said, rest = caption_sample(of, n, path)
    lines = [f"{one.row} ({one.prompt_id}): {one.text or 'no caption came'}" for one in sampled]
    text = "\n".join(printable(line) for line in [*lines, said, rest])
    return {
        "sample": [asdict(one) for one in sampled],
        "said": said,
        "rest": rest,
        "page": str(path),
    }, f"{text}\nopen {path}"


def _review(of: "Pictures", path: Path) -> tuple[dict[str, object], str]:
    from captionlake.caption_runs import caption_review

    shown = caption_review(of, path)
    return {"shown": shown, "page": str(path)}, f"{shown:,} captions with flags, the worst first: open {path}"


commands: list[click.Command] = [caption]
