"""The teacher: captions by a strong model behind any OpenAI-compatible endpoint."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from captionlake.models.teacher.acceptance import accepted
    from captionlake.models.teacher.caption_run import CaptioningStopped, CaptionRun
    from captionlake.models.teacher.caption_table import rows_to_caption
    from captionlake.models.teacher.captioning import caption, estimate
    from captionlake.models.teacher.pending import Estimate
    from captionlake.models.teacher.teacher_config import EndpointConfig, TeacherConfig

_PLACES = {
    "CaptionRun": "caption_run",
    "CaptioningStopped": "caption_run",
    "EndpointConfig": "teacher_config",
    "Estimate": "pending",
    "TeacherConfig": "teacher_config",
    "accepted": "acceptance",
    "caption": "captioning",
    "estimate": "captioning",
    "rows_to_caption": "caption_table",
}
__all__ = [
    "CaptionRun",
    "CaptioningStopped",
    "EndpointConfig",
    "Estimate",
    "TeacherConfig",
    "accepted",
    "caption",
    "estimate",
    "rows_to_caption",
]


def __getattr__(name: str) -> object:
    """Each on first use: a recipe's check needs ``TeacherConfig`` alone, and no DuckDB."""
    import importlib

    if name in _PLACES:
        return getattr(importlib.import_module(f"captionlake.models.teacher.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
