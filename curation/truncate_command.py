"""``captionlake truncate``."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from captionlake.lake.options import emit, json_option, lake_option, printable


@click.command()
@click.option("--producer", required=True, metavar="NAME", help="Whose captions to cut, such as gpt4-vision.")
@click.option("--release", metavar="NAME@VERSION", help="Only the captions that this release holds.")
@click.option(
    "--mean-chars",
    type=click.IntRange(min=1),
    default=609,
    show_default=True,
    help="The mean length to meet, in characters; that of LLaVA's detailed captions is 609.",
)
@click.option(
    "--at", type=click.Choice(["word", "sentence"]), default="word", show_default=True, help="Where a text may end."
)
@click.option("--as", "name", metavar="NAME", help="The producer of the cut ones, in place of PRODUCER/trMEAN.")
@lake_option
@json_option
def truncate(lake: Path, as_json: bool, **settings: Any) -> None:
    """Add captions cut so that their mean length meets a given one, beside the whole ones (kind truncated)."""
    from captionlake.curation.truncation import TruncateConfig
    from captionlake.curation.truncation import truncate as run
    from captionlake.lake import Lake

    with Lake.open(lake) as opened:
        counts = run(opened, TruncateConfig(**settings))
    emit(
        as_json,
        asdict(counts),
        f"{counts.captions:,} captions, {counts.cut:,} of them cut at {counts.cap:,} characters: {counts.mean_chars:,.1f} on average; "
        f"{counts.added:,} new rows by {printable(counts.producer)}",
    )
