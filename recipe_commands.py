"""Commands that take a recipe: run, select, release create; and release proof and rebuild, which read that of a release."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from captionlake.curation.proof_command import proof
from captionlake.errors import CaptionlakeError
from captionlake.lake.options import emit, engine_options, json_option, lake_option, printable, table
from captionlake.lake.releases.commands import release

if TYPE_CHECKING:
    from captionlake.pipeline import RunReport, StepReport

STEPS = ("ingest", "embed", "dedupe", "decontaminate", "select", "caption", "release", "analyze", "card", "publish")
_RECIPE = click.argument("recipe", type=click.Path(path_type=Path, dir_okay=False))


@click.command()
@_RECIPE
@click.option("--until", type=click.Choice(STEPS), help="Stop after this step.")
@engine_options()
@json_option
def run(recipe: Path, until: str | None, engine: str, ray_address: str | None, as_json: bool) -> None:
    """Work a RECIPE off: ingest, embed, dedupe, decontaminate, select, caption, release, card, publish.

    Run it again after an interruption: each step does only what is missing.
    """
    from captionlake.lake.engines import engine_of
    from captionlake.pipeline import Step
    from captionlake.pipeline import run as work_off
    from captionlake.recipe import load_recipe

    def tell(report: "StepReport") -> None:
        click.echo(f"{report.step}: {report.said} ({report.seconds:.1f} s)", err=True)

    read = load_recipe(recipe)
    with engine_of(engine, ray_address) as chosen:
        report = work_off(
            read,
            until=Step(until) if until else None,
            tell=tell,
            foretell=lambda said: click.echo(f"caption: {printable(said)}", err=True),
            engine=chosen,
        )
    emit(as_json, _data(report), _text(report))


@click.command()
@_RECIPE
@click.option(
    "--plan", is_flag=True, help="Show what each quota lacks and what would free it; a shortfall is no error then."
)
@json_option
def select(recipe: Path, plan: bool, as_json: bool) -> None:
    """What a RECIPE would choose of its lake now; writes nothing. `run` and `release create` keep the choice."""
    from captionlake.curation.select_plan import shortfall_lines
    from captionlake.pipeline import plan as choose
    from captionlake.recipe import load_recipe

    selection, short = choose(load_recipe(recipe), forgiving=plan)
    names = ["collection", "subset", "wanted", "available", "taken", "given", "backfilled", "shortfall"]
    quotas = selection.quotas.select(names).rows()
    left = selection.exclusions.group_by("reason").len().sort("reason").rows()
    data = {
        "snapshot": selection.snapshot,
        "items": len(selection.items),
        "quotas": [dict(zip(names, row, strict=True)) for row in quotas],
        "excluded": dict(left),
        "short": [asdict(one) for one in short],
    }
    shown = [[c, s, "all" if wanted is None else wanted, *rest] for c, s, wanted, *rest in quotas]
    parts = [table(names, shown)] if shown else ["no quotas: all that survives is taken"]
    parts += [table(["left out for", "images"], [list(row) for row in left])] if left else []
    parts += ["\n".join(shortfall_lines(short))] if short else []
    emit(as_json, data, "\n\n".join([*parts, f"{len(selection.items):,} images chosen"]))


@release.command()
@_RECIPE
@json_option
def create(recipe: Path, as_json: bool) -> None:
    """Make the release of a RECIPE from its lake as it is: select, caption, release, card; nothing is fetched or embedded."""
    from captionlake.pipeline import create_release
    from captionlake.recipe import load_recipe

    report = create_release(load_recipe(recipe))
    emit(as_json, _data(report), _text(report))


@release.command()
@click.argument("label", metavar="NAME@VERSION")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=".",
    show_default=True,
    help="Where its recipe stood: relative paths in it, as to prompts and checkpoints, are taken from there.",
)
@lake_option
@json_option
def rebuild(label: str, folder: Path, lake: Path, as_json: bool) -> None:
    """Choose the rows of a release again, from its own recipe and snapshot, and compare. Exit 1 where one differs; writes nothing."""
    from captionlake.lake import Lake
    from captionlake.rebuild import rebuild as choose

    with Lake.open(lake) as opened:
        found = choose(opened, label, folder.absolute())
    said = f"rebuilt: same content {found.content_sha256}: {found.items:,} rows, {found.excluded:,} left out"
    if found.same or as_json:
        emit(as_json, asdict(found) | {"same": found.same}, said)
    if not found.same:
        first = "; ".join(printable(one) for one in found.differ) or "its rows are in another order"
        raise CaptionlakeError(
            f"{label} came out otherwise: content {found.content_sha256[:12]}, not {found.stored_sha256[:12]}, and "
            f"{found.n_differ:,} rows differ: {first}"
        )


def _data(report: "RunReport") -> dict[str, Any]:
    return asdict(report)


def _text(report: "RunReport") -> str:
    """The table of steps, and where card and release are."""
    rows: list[list[object]] = [[step.step.value, step.said, f"{step.seconds:.1f} s"] for step in report.steps]
    rows.append(["total", "", f"{sum(step.seconds for step in report.steps):.1f} s"])
    parts = [table(["step", "what it did", "time"], rows), f"lake: {report.lake}"]
    if report.release is not None:
        parts.append(f"release: {report.release}")
    if report.card is not None:
        parts.append(f"card: {report.card}")
    if report.url is not None:
        parts.append(f"published: {report.url}")
    return "\n".join(parts)


release.add_command(proof)
commands: list[click.Command] = [run, select]
