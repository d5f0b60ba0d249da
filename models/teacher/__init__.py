"""The teacher: captions by a strong model behind any OpenAI-compatible endpoint."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from captionlake.models.teacher.caption_run import CaptioningStopped, CaptionRun
    from captionlake.models.teacher.captioning import caption, estimate
    from captionlake.models.teacher.pending import Estimate
    from captionlake.models.teacher.teacher import Teacher
    from captionlake.models.teacher.teacher_config import EndpointConfig, TeacherConfig

_PLACES = {
    "CaptionRun": "caption_run",
    "CaptioningStopped": "caption_run",
    "EndpointConfig": "teacher_config",
    "Estimate": "pending",
    "Teacher": "teacher",
    "TeacherConfig": "teacher_config",
    "caption": "captioning",
    "estimate": "captioning",
}
__all__ = [
    "CaptionRun",
    "CaptioningStopped",
    "EndpointConfig",
    "Estimate",
    "Teacher",
    "TeacherConfig",
    "caption",
    "estimate",
]


def __getattr__(name: str) -> object:
    """Each on first use: a recipe's check needs ``TeacherConfig`` alone, and no DuckDB."""
    import importlib

    if name in _PLACES:
        return getattr(importlib.import_module(f"captionlake.models.teacher.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
