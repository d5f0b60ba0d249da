"""Commands of curation, each in a file of its own."""

import click

from captionlake.curation.analyze_command import analyze
from captionlake.curation.decontaminate_command import decontaminate
from captionlake.curation.dedupe_command import dedupe
from captionlake.curation.embed_command import embed
from captionlake.curation.flag_command import flag
from captionlake.curation.score_command import score
from captionlake.curation.search_command import search
from captionlake.curation.truncate_command import truncate

commands: list[click.Command] = [embed, dedupe, decontaminate, search, score, flag, truncate, analyze]
