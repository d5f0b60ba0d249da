"""The command line: each room's commands under one name, errors as one line on stderr, exit 0, 1 or 2."""

import errno
import gc
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import NoReturn

import click

from captionlake import caption_command, eval_command, recipe_commands
from captionlake.cards import commands as cards
from captionlake.cards.publishing import commands as publishing
from captionlake.convert_command import convert
from captionlake.curation import commands as curation
from captionlake.doctor_command import doctor
from captionlake.errors import CaptionlakeError
from captionlake.lake import commands as lake
from captionlake.lake.postgres_place import is_lost
from captionlake.log_file import log_to, note_error
from captionlake.mix_command import mix
from captionlake.models import commands as models
from captionlake.takedown_command import takedown
from captionlake.train_command import train


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="captionlake", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an error, and log in detail.")
@click.option(
    "--log-json",
    envvar="CAPTIONLAKE_LOG",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Append what is logged to FILE, as lines of JSON without secrets (or set CAPTIONLAKE_LOG).",
)
def captionlake(debug: bool, log_json: Path | None) -> None:
    """Make captioned-image data sets: ingest, embed, de-duplicate, choose by quota, caption, release, describe."""
    level = logging.DEBUG if debug else logging.WARNING
    logging.basicConfig(stream=sys.stderr, level=level, format="%(levelname)s %(name)s: %(message)s")
    for handler in logging.getLogger().handlers:
        handler.setLevel(level)  # what a file of the log takes beyond that is not for the terminal
    if log_json is not None:
        log_to(log_json, logging.DEBUG if debug else logging.INFO)
    warnings.filterwarnings(
        "ignore", module="PIL"
    )  # of broken EXIF and the like: what matters becomes a recorded reason


for command in [
    *lake.commands,
    *curation.commands,
    *cards.commands,
    *publishing.commands,
    *models.commands,
    *recipe_commands.commands,
    *caption_command.commands,
    *eval_command.commands,
    takedown,
    doctor,
    mix,
    convert,
    train,
]:
    captionlake.add_command(command)


def main() -> None:
    """Entry point of the ``captionlake`` command."""
    gc.set_threshold(50_000, 20, 100)  # tens of thousands of rows are alive at a time, and no cycles are among them
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # others fault each block of pictures in anew
    try:
        sys.exit(captionlake(standalone_mode=False) or 0)
    except (click.exceptions.Abort, KeyboardInterrupt):
        _interrupted()
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if "--debug" in sys.argv[1:2]:
            raise
        if str(error) == "Query interrupted":  # Ctrl-C while DuckDB is at work
            _interrupted()
        lines = _lines(error)
        note_error("; ".join(lines or [repr(error)]), error if lines is None else None)
        if lines is None:
            raise
        for line in lines:
            click.echo(f"error: {line}", err=True)
        sys.exit(1)


def _interrupted() -> NoReturn:
    click.echo("interrupted: what was committed stays; run the same command again to go on", err=True)
    sys.exit(130)


def _lines(error: Exception) -> list[str] | None:
    """What to print of an error that a user can mend, a line a problem; None for a defect of ours, which shows its traceback."""
    text = " ".join(str(error).split())
    if isinstance(error, CaptionlakeError):
        lines: list[str] = getattr(error, "lines", [text])
        return lines
    if isinstance(error, OSError):
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        return [
            f"{text}: {'make room on the disk' if full else 'check the path and its rights'} and run the same command again"
        ]
    if is_lost(error):
        return [
            f"the server of the lake's catalog went away ({text[:300]}): run the same command again when it is back"
        ]
    if type(error).__module__.split(".")[0] in ("_duckdb", "duckdb", "pyarrow"):
        return [
            f"the lake could not be read ({text[:300]}): is it whole? restore what is missing, or see more with --debug"
        ]
    return None
