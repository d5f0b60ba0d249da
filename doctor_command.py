"""``captionlake doctor``: the environment and a lake looked at, and of each thing that is wrong the command that mends it."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from captionlake.errors import CaptionlakeError
from captionlake.lake.options import emit, json_option, printable

if TYPE_CHECKING:
    from captionlake.lake.doctor.finding import Finding

#: which commands need an extra of the package
NEEDED_BY = {
    "download": "ingest from URLs",
    "embed": "embed, decontaminate, search and takedown --like",
    "captions": "caption by an endpoint, flag",
    "analysis": "analyze",
    "cards": "card, publish",
    "models": "caption by a checkpoint, chat, convert, eval",
    "serve": "serve",
    "train": "train",
    "nsfw": "ingest --nsfw",
    "postgres": "lakes with their catalog in PostgreSQL",
    "s3": "lakes with their data in a bucket",
    "ray": "--engine ray",
    "spark": "ingest --engine spark",
}


@click.command()
@click.option(
    "--lake",
    envvar="CAPTIONLAKE_LAKE",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Look at this lake too (or set CAPTIONLAKE_LAKE).",
)
@click.option("--deep", is_flag=True, help="Read and hash every picture of the lake.")
@json_option
def doctor(lake: Path | None, deep: bool, as_json: bool) -> None:
    """Look at the environment and the lake; name what is wrong and the command that mends it. Exit 1 where there is a problem."""
    from captionlake.lake.doctor.finding import Level

    found = list(_examined(lake, deep))
    problems = sum(one.level == Level.PROBLEM for one in found)
    notes = sum(one.level == Level.NOTE for one in found)
    emit(as_json, {"findings": [asdict(one) for one in found], "problems": problems, "notes": notes}, _told(found))
    if problems:
        raise CaptionlakeError(
            f"{problems:,} {'problem' if problems == 1 else 'problems'}: run what stands below each, then captionlake doctor again"
        )


def _examined(lake: Path | None, deep: bool) -> "Iterator[Finding]":
    from captionlake.lake.doctor.environment import examine_environment
    from captionlake.lake.doctor.finding import Level

    sound = True
    for one in examine_environment(NEEDED_BY, lake):
        sound = sound and not (one.check == "duckdb" and one.level == Level.PROBLEM)
        yield one
    if lake is not None and sound:  # else it opens for nobody
        from captionlake.lake.doctor.examination import examine_lake

        yield from examine_lake(lake, deep=deep)


def _told(found: "list[Finding]") -> str:
    """Problems last, where they are seen first."""
    order = {"ok": 0, "note": 1, "problem": 2}
    lines = []
    for one in sorted(found, key=lambda one: order[one.level]):
        where = f"  [{printable(one.where)}]" if one.where and one.level != "ok" else ""
        lines.append(f"{one.level:8} {one.check:15} {printable(one.what)}{where}")
        if one.mend:
            lines.append(f"{'':25}run  {printable(one.mend)}")
    return "\n".join(lines)
