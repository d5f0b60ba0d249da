"""The lake: tables, pictures, sources and ingest, SQL and releases. The only writer of the lake."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from captionlake.lake.lake import Lake

__all__ = ["Lake"]


def __getattr__(name: str) -> object:
    """``Lake`` on first use, so that the command line need not load DuckDB to show its help."""
    if name == "Lake":
        from captionlake.lake.lake import Lake

        return Lake
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
