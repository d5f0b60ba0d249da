"""Checkpoints at work: captions at scale, chat, serving. Nothing here is imported before it is used: torch takes seconds."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from captionlake.models.running.captioner import CheckpointCaptioner
    from captionlake.models.running.captioner_run import CaptionerRun
    from captionlake.models.running.chat import Chat
    from captionlake.models.running.folder import CheckpointFolder
    from captionlake.models.running.generation import GenerationConfig
    from captionlake.models.running.loading import Checkpoint

_PLACES = {
    "CaptionerRun": "captioner_run",
    "Chat": "chat",
    "Checkpoint": "loading",
    "CheckpointCaptioner": "captioner",
    "CheckpointFolder": "folder",
    "GenerationConfig": "generation",
}
__all__ = ["CaptionerRun", "Chat", "Checkpoint", "CheckpointCaptioner", "CheckpointFolder", "GenerationConfig"]


def __getattr__(name: str) -> object:
    import importlib

    if name in _PLACES:
        return getattr(importlib.import_module(f"captionlake.models.running.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
