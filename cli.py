"""The command line: each room's commands under one name, errors as one line on stderr, exit 0, 1 or 2."""

import logging
import os
import sys
import warnings

import click

from captionlake import recipe_commands
from captionlake.cards import commands as cards
from captionlake.curation import commands as curation
from captionlake.errors import CaptionlakeError
from captionlake.lake import commands as lake


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="captionlake", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an error, and log in detail.")
def captionlake(debug: bool) -> None:
    """Make captioned-image data sets: ingest, embed, de-duplicate, choose by quota, caption, release, describe."""
    level = logging.DEBUG if debug else logging.WARNING
    logging.basicConfig(stream=sys.stderr, level=level, format="%(levelname)s %(name)s: %(message)s")
    warnings.filterwarnings(
        "ignore", module="PIL"
    )  # of broken EXIF and the like: what matters becomes a recorded reason


for command in [*lake.commands, *curation.commands, *cards.commands, *recipe_commands.commands]:
    captionlake.add_command(command)


def main() -> None:
    """Entry point of the ``captionlake`` command."""
    try:
        sys.exit(captionlake(standalone_mode=False) or 0)
    except click.exceptions.Abort:
        click.echo("interrupted: what was committed stays; run the same command again to go on", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except (CaptionlakeError, OSError) as error:
        if "--debug" in sys.argv[1:2]:
            raise
        for line in getattr(error, "lines", None) or [" ".join(str(error).split())]:
            click.echo(f"error: {line}", err=True)
        sys.exit(1)
