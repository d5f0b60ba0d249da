"""``captionlake release proof``: quotas counted again, with the SQL that does it."""

from dataclasses import asdict
from pathlib import Path

import click

from captionlake.errors import CaptionlakeError
from captionlake.lake.options import emit, json_option, lake_option, table


@click.command()
@click.argument("label", metavar="NAME@VERSION")
@lake_option
@json_option
def proof(label: str, lake: Path, as_json: bool) -> None:
    """Count again how a release filled its quotas: per quota its pool, those left out by reason, those picked, and the SQL of it."""
    from captionlake.curation.proof import proof_rows, prove
    from captionlake.lake import Lake

    with Lake.open(lake) as opened:
        found = prove(opened, label)
    header, rows = proof_rows(found)
    counted = f"{found.images:,} images at snapshot {found.snapshot}, each in one pool with one outcome"
    text = [table(header, rows), counted, *(f"-- {count.quota}\n{count.sql};" for count in found.counts)]
    emit(as_json, asdict(found) | {"holds": found.holds}, "\n\n".join(text))
    if not found.holds:
        raise CaptionlakeError(
            f"{label} does not account for every image once: look at it with  captionlake release verify {label}"
        )
