"""``captionlake chat``: questions to a checkpoint about pictures, in the terminal or through a pipe."""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from captionlake.errors import CaptionlakeError
from captionlake.lake.options import emit, json_option, printable

if TYPE_CHECKING:
    from rich.console import Console

    from captionlake.models.running import Chat

_HELP = "/image FILE shows another picture, /reset forgets what was said, /quit ends; Ctrl-C stops an answer."


@click.command()
@click.argument("checkpoint")
@click.argument("images", nargs=-1, type=click.Path(path_type=Path), metavar="[IMAGE]...")
@click.option("--question", metavar="TEXT", help="Ask this alone, and end.")
@click.option(
    "--max-tokens", type=click.IntRange(1), default=512, show_default=True, metavar="N", help="The longest answer."
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="NAME",
    help="cpu, cuda, cuda:1, or auto: a GPU where there is one.",
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16"]),
    default="auto",
    show_default=True,
    help="auto is bf16 where the device computes in it.",
)
@json_option
def chat(checkpoint: str, images: tuple[Path, ...], question: str | None, as_json: bool, **options: Any) -> None:
    """Talk with a CHECKPOINT (a folder, or a name on the Hub) about pictures, for several rounds.

    Questions come from the terminal, or a line each through a pipe.

    \b
        captionlake chat checkpoints/lmm photo.jpg
        captionlake chat checkpoints/lmm photo.jpg --question "What is this?" --json
    """
    typed = question is None and sys.stdin.isatty()
    if as_json and typed:
        raise click.UsageError("--json is for --question, or for questions through a pipe")
    from captionlake.models.running import Chat

    talk = Chat.load(checkpoint, **options)
    for image in images:
        talk.show(image)
    if typed:
        _talk(talk, checkpoint, images)
        return
    rounds = []
    for asked in [question] if question is not None else _lines():
        rounds.append(_round(talk, asked, quiet=as_json))
    if as_json:
        emit(True, {"checkpoint": checkpoint, "images": list(map(str, images)), "rounds": rounds}, "")


def _lines() -> Iterator[str]:
    """Questions of a pipe."""
    for line in sys.stdin:
        if line.strip():
            yield line.strip()


def _round(talk: "Chat", asked: str, *, quiet: bool) -> dict[str, Any]:
    started = time.monotonic()
    for piece in talk.stream(asked):
        if not quiet:
            click.echo(_shown(piece), nl=False)
    if not quiet:
        click.echo()
    assert talk.last is not None
    return {
        "question": asked,
        "answer": talk.last.text,
        "output_tokens": talk.last.output_tokens,
        "finish_reason": talk.last.finish_reason,
        "seconds": round(time.monotonic() - started, 3),
    }


def _shown(text: str) -> str:
    """Hostile text made safe, its lines kept."""
    return "\n".join(map(printable, text.split("\n")))


def _talk(talk: "Chat", checkpoint: str, images: tuple[Path, ...]) -> None:
    """The terminal, until /quit or Ctrl-D."""
    from contextlib import suppress

    from rich.console import Console

    with suppress(ImportError):
        import readline  # noqa: F401  (the prompt's line can be edited)
    console = Console(highlight=False)
    folder, placement = talk.checkpoint.folder, talk.checkpoint.placement
    shown = f"{folder.name} ({folder.architecture}) on {placement.device} in {placement.precision}"
    console.print(printable(shown), style="bold", markup=False)
    for image in images:
        console.print(printable(f"shown: {image}"), style="dim", markup=False)
    console.print(_HELP, style="dim", markup=False)
    with _ctrl_c(lambda *_: None):  # between answer and question: it was meant for the answer that has just ended
        while True:
            try:
                with _ctrl_c(signal.default_int_handler):
                    line = console.input("[bold cyan]you[/] ").strip()
            except EOFError:
                console.print()
                return
            except KeyboardInterrupt:
                console.print("\n(/quit ends)", style="dim", markup=False)
                continue
            if line == "/quit":
                return
            try:
                if line:
                    _turn(talk, line, console)
            except CaptionlakeError as error:
                console.print(printable(f"error: {error}"), style="red", markup=False)


@contextmanager
def _ctrl_c(does: Callable[[int, Any], object]) -> Iterator[None]:
    """What Ctrl-C does within it."""
    before = signal.signal(signal.SIGINT, does)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _turn(talk: "Chat", line: str, console: "Console") -> None:
    """One line that was typed: a command, or a question and its answer."""
    command, _, told = line.partition(" ")
    if command == "/image" and told.strip():
        talk.show(Path(told.strip()))
        console.print(printable(f"shown: {told.strip()}, with the next question"), style="dim", markup=False)
    elif command == "/reset":
        talk.reset()
        console.print("forgotten; the pictures go with the next question", style="dim", markup=False)
    elif command.startswith("/"):
        console.print(_HELP, style="dim", markup=False)
    else:
        _answer(talk, line, console)


def _answer(talk: "Chat", asked: str, console: "Console") -> None:
    with _ctrl_c(lambda *_: talk.stop()):
        for piece in talk.stream(asked):
            console.print(_shown(piece), end="", markup=False, soft_wrap=True)
    assert talk.last is not None
    if talk.last.finish_reason == "stopped":
        console.print(" (stopped)", style="dim", end="", markup=False)
    console.print("\n")
