"""Options of commands that compare with a lake's embeddings: which model, where it runs, and in which precision."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from captionlake.errors import CaptionlakeError

if TYPE_CHECKING:
    from captionlake.curation.model import EmbedConfig

Command = TypeVar("Command", bound=Callable[..., Any])

device_option = click.option(
    "--device", default="auto", show_default=True, help="torch's name of a device; auto takes the GPU if any."
)
precision_option = click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16"]),
    default="auto",
    show_default=True,
    help="Of weights and activations; auto takes bf16 where the device computes in it. Vectors of two precisions are not compared.",
)


def model_options(model_help: str, *, required: bool = False) -> Callable[[Command], Command]:
    """--model, --pretrained, --device and --precision, for :func:`model_config`."""

    def add(command: Command) -> Command:
        for option in (
            precision_option,
            device_option,
            click.option("--pretrained", required=required, metavar="TAG|DIR", help="Its tag, or a local folder."),
            click.option("--model", required=required, metavar="NAME", help=model_help),
        ):
            command = option(command)
        return command

    return add


def embed_config(**options: Any) -> "EmbedConfig":
    """The model that a command's options name, or an error that names the option."""
    from pydantic import ValidationError

    from captionlake.curation.model import EmbedConfig

    try:
        return EmbedConfig(**options)
    except ValidationError as error:
        raise CaptionlakeError(
            "; ".join(f"--{problem['loc'][0]}: {problem['msg']}" for problem in error.errors())
        ) from error


def model_config(model: str | None, pretrained: str | None, **options: Any) -> "EmbedConfig | None":
    """The model of a command that can do without one."""
    if model is None and pretrained is None:
        return None
    if model is None or pretrained is None:
        raise CaptionlakeError("a model needs both --model and --pretrained: give the two that  captionlake embed  had")
    return embed_config(model=model, pretrained=pretrained, **options)
