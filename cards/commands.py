"""``captionlake card``: write a release's card, or ask its facts again."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from captionlake.errors import CaptionlakeError
from captionlake.lake.options import emit, json_option, lake_option, printable

if TYPE_CHECKING:
    from captionlake.lake import Lake


@click.command()
@click.argument("label", metavar="NAME@VERSION")
@click.option("-o", "--output", "folder", required=True, type=click.Path(path_type=Path), help="The card's folder.")
@click.option(
    "--check", is_flag=True, help="Write nothing: ask every fact of the card again, exit 1 where one differs."
)
@click.option(
    "--export",
    type=click.Path(path_type=Path),
    help="The release's Parquet export, whose files, hashes and sizes the card then tells.",
)
@click.option(
    "--repo", metavar="OWNER/NAME", help="Where on the Hugging Face Hub it will be, for the lines on loading."
)
@lake_option
@json_option
def card(
    label: str, folder: Path, check: bool, export: Path | None, repo: str | None, lake: Path, as_json: bool
) -> None:
    """Write a release's dataset card: README.md, facts.json, croissant.json, LICENSE.md and figures, each number from a stored query."""
    from captionlake.cards.dataset_card import write_card
    from captionlake.lake import Lake

    with Lake.open(lake) as opened:
        if check:
            _check(opened, label, folder, as_json)
            return
        written = write_card(opened, label, folder, export=export, repo=repo)
    data = {
        "card": str(written.readme),
        "facts": written.facts,
        "pictures": written.pictures,
        "files": [str(file) for file in written.files],
    }
    emit(
        as_json,
        data,
        f"{written.readme}: {written.facts} facts, each with its query; {written.pictures} pictures shown",
    )


def _check(lake: "Lake", label: str, folder: Path, as_json: bool) -> None:
    from captionlake.cards.dataset_card import check_card

    found = check_card(lake, label, folder)
    data = {
        "release": label,
        "facts": found.facts,
        "differences": [asdict(difference) for difference in found.differences],
        "readme_as_written": found.readme_as_written,
    }
    if found.differences:
        if as_json:
            emit(True, data, "")
        first = found.differences[0]
        raise CaptionlakeError(
            f"{len(found.differences)} of {found.facts} facts in {folder} differ from the lake, the first: {first.name} "
            f"{printable(first.what)}: write the card again, without --check"
        )
    said = f"{label}: all {found.facts} facts in {folder} are what the lake says"
    edited = (
        ""
        if found.readme_as_written
        else "; README.md is not the text that follows from them (edited, or of another captionlake)"
    )
    emit(as_json, data, said + edited)


commands: list[click.Command] = [card]
