"""``captionlake convert``: checkpoints as their authors published them, to folders that the other commands take."""

from pathlib import Path

import click

from captionlake.lake.options import emit, json_option, printable


@click.group()
def convert() -> None:
    """Convert a published checkpoint to a folder for train, caption, chat and eval. Nothing is unpickled."""


@convert.command()
@click.argument("source", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("target", type=click.Path(path_type=Path))
@json_option
def captioner(source: Path, target: Path, as_json: bool) -> None:
    """Convert the released Share-Captioner in folder SOURCE to folder TARGET."""
    from captionlake.models.captioner import convert as convert_captioner

    convert_captioner(source, target)
    emit(as_json, {"target": str(target)}, printable(f"{target}: a captioner, from {source}"))


@convert.command()
@click.argument("source", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--vision", metavar="NAME", help="The vision tower's folder or Hub name; by default the one that SOURCE names."
)
@json_option
def llava(source: Path, target: Path, vision: str | None, as_json: bool) -> None:
    """Convert a LLaVA-1.5 or ShareGPT4V of LLaVA's own code in folder SOURCE to folder TARGET, with its tower merged in."""
    from captionlake.models.lmm.convert import convert_llava

    convert_llava(source, vision, target)
    emit(as_json, {"target": str(target)}, printable(f"{target}: a LLaVA, from {source}"))
