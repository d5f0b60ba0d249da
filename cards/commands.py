"""``captionlake card``: write a release's card or a model's, or ask its facts again."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from captionlake.errors import CaptionlakeError
from captionlake.lake.options import emit, json_option, lake_of, printable

if TYPE_CHECKING:
    from captionlake.lake import Lake


@click.command()
@click.argument("label", metavar="NAME@VERSION|CHECKPOINT")
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
@click.option(
    "--results", multiple=True, type=click.Path(path_type=Path), help="Of a CHECKPOINT: what captionlake eval wrote."
)
@click.option("--license", help="Of a CHECKPOINT: the weights' licence, by the Hub's name or its address.")
@click.option("--lake", envvar="CAPTIONLAKE_LAKE", metavar="DIR", help="The lake's folder (or set CAPTIONLAKE_LAKE).")
@json_option
def card(
    label: str,
    folder: Path,
    check: bool,
    export: Path | None,
    repo: str | None,
    lake: str | None,
    as_json: bool,
    **of_model: Any,
) -> None:
    """Write a release's dataset card, or the model card of a CHECKPOINT's folder: README.md, facts.json and figures.

    Each number comes from a stored query or a named file. Of a release there are croissant.json and LICENSE.md beside.
    """
    if Path(label).is_dir():
        from captionlake.cards.model_card_command import model_card

        if export or repo:
            raise click.UsageError("--export, --repo: for a release, and this is the folder of a checkpoint")
        model_card(Path(label), folder, check=check, lake=Path(lake) if lake else None, as_json=as_json, **of_model)
        return
    if given := [f"--{name}" for name, value in of_model.items() if value]:
        raise click.UsageError(f"{', '.join(given)}: for the folder of a checkpoint, and there is none at {label}")
    from captionlake.cards.dataset_card import write_card
    from captionlake.lake import Lake

    with Lake.open(lake_of(lake)) as opened:
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
        "croissant_problems": found.croissant_problems,
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
        else "; README.md or croissant.json is not the text that follows from them (edited, or of another captionlake)"
    )
    if found.croissant_problems:
        raise CaptionlakeError(
            f"{folder / 'croissant.json'} is not valid ({printable(found.croissant_problems[0])}): write the card again"
        )
    edited += "; croissant.json is valid" if found.croissant_problems == [] else ""
    emit(as_json, data, said + edited)


commands: list[click.Command] = [card]
