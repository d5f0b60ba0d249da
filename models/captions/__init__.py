"""Captions that models make: their keys, which are missing, the table they stand in, which of them a release takes."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from captionlake.models.captions.acceptance import accepted
    from captionlake.models.captions.captioner import Captioner, Done, Expected
    from captionlake.models.captions.table import rows_to_caption

_PLACES = {
    "Captioner": "captioner",
    "Done": "captioner",
    "Expected": "captioner",
    "accepted": "acceptance",
    "rows_to_caption": "table",
}
__all__ = ["Captioner", "Done", "Expected", "accepted", "rows_to_caption"]


def __getattr__(name: str) -> object:
    """Each on first use: a recipe's check needs none of them, and no DuckDB."""
    import importlib

    if name in _PLACES:
        return getattr(importlib.import_module(f"captionlake.models.captions.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
