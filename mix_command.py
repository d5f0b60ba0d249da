"""``captionlake mix``."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from captionlake.lake.options import emit, json_option, table

if TYPE_CHECKING:
    from captionlake.curation.mixes.mix import MixReport


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path, dir_okay=False))
@json_option
def mix(recipe: Path, as_json: bool) -> None:
    """Make the mix for fine-tuning that RECIPE describes, as a release of conversations.

    Run it again after an interruption: the same recipe makes the same rows.
    """
    from captionlake.curation.mixes.mix import make_mix
    from captionlake.lake import Lake
    from captionlake.mix_recipe import load_mix_recipe

    read = load_mix_recipe(recipe)
    if not Lake.exists(read.lake):
        Lake.init(read.lake).close()
    with Lake.open(read.lake) as lake:
        report = make_mix(lake, read.mix, read.release, read.text, tell=lambda line: click.echo(line, err=True))
    emit(as_json, asdict(report), _text(report))


def _text(report: "MixReport") -> str:
    rows: list[list[object]] = [[p.part, p.before, p.taken, p.put, p.after] for p in report.parts]
    totals = [sum(column) for column in zip(*([p.before, p.taken, p.put, p.after] for p in report.parts), strict=True)]
    parts = [table(["part", "before", "taken out", "put in", "after"], [*rows, ["total", *totals]])]
    if report.quotas:
        wanted: list[list[object]] = [
            [name, "all" if n is None else n, there] for name, (n, there) in report.quotas.items()
        ]
        parts.append(table(["quota", "wanted", "drawn"], wanted))
    if report.detail_listed:
        parts.append(
            f"detailed captions: {report.detail_found:,} rows of the base for {report.detail_listed:,} of the list"
        )
    if report.truncation:
        cut = report.truncation
        parts.append(
            f"cut at {cut['cap']:,} characters: {cut['mean_chars']:,.1f} on average, {cut['cut']:,} captions shorter than before"
        )
    state = "" if report.new else " (there already, the same)"
    parts.append(f"release: {report.release}, {report.n_items:,} rows, content {report.content_sha256[:12]}{state}")
    return "\n\n".join(parts)
