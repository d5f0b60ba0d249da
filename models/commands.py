"""The room's commands: chat, serve."""

import click

from captionlake.models.chat_command import chat
from captionlake.models.serve_command import serve

commands: list[click.Command] = [chat, serve]
