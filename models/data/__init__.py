"""Data sets over releases: samples by index, or as a stream that can be left and gone on with anywhere."""

from typing import TYPE_CHECKING

from captionlake.models.data.order import Order
from captionlake.models.data.release_data import ReleaseData
from captionlake.models.data.sample import Sample, Turn, UnreadableSample
from captionlake.models.data.skips import Skip, SkipLog

if TYPE_CHECKING:
    from captionlake.models.data.exported_stream import ExportedStream
    from captionlake.models.data.release_dataset import ReleaseDataset
    from captionlake.models.data.release_stream import ReleaseStream

__all__ = [
    "ExportedStream",
    "Order",
    "ReleaseData",
    "ReleaseDataset",
    "ReleaseStream",
    "Sample",
    "Skip",
    "SkipLog",
    "Turn",
    "UnreadableSample",
]

_NEED_TORCH = {
    "ExportedStream": "exported_stream",
    "ReleaseDataset": "release_dataset",
    "ReleaseStream": "release_stream",
}


def __getattr__(name: str) -> object:
    """The classes of torch on first use."""
    import importlib

    if name not in _NEED_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"captionlake.models.data.{_NEED_TORCH[name]}"), name)
