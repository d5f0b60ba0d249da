"""``captionlake serve``: a checkpoint behind an OpenAI-compatible endpoint, by ``transformers serve``."""

import click

from captionlake.errors import CaptionlakeError, require
from captionlake.lake.options import printable

_REFUSED = ("--trust-remote-code",)


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": ["--help"]}
)
@click.argument("checkpoint")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def serve(checkpoint: str, options: tuple[str, ...]) -> None:
    """Serve a CHECKPOINT (a folder, or a name on the Hub) as ``transformers serve`` does, whose OPTIONS follow it.

    The server is transformers' own; captionlake checks the checkpoint and makes its captioner known there. `transformers serve --help`
    tells the options. A recipe asks it with captioner = "openai:" and the folder's whole path, and, in [caption.endpoint], base_url =
    "http://127.0.0.1:8000/v1".

    \b
        captionlake serve checkpoints/mine --port 8000 --device cuda
    """
    from captionlake.models.running import CheckpointFolder
    from captionlake.models.running.loading import check_architecture, load_processor

    for option in options:
        if option.startswith(_REFUSED):
            raise click.UsageError(f"{option} would run code of the checkpoint's: no checkpoint needs it here")
    folder = CheckpointFolder.find(checkpoint)
    check_architecture(folder)
    load_processor(folder)
    require("uvicorn", extra="serve")
    click.echo(
        f'the model is named "{printable(folder.path)}": captioner = "openai:{printable(folder.path)}"', err=True
    )
    from transformers.cli.transformers import app

    try:
        app(["serve", str(folder.path), *options], prog_name="transformers", standalone_mode=True)
    except ImportError as error:
        raise CaptionlakeError(f"{error}: run  pip install 'captionlake[serve]'") from error
