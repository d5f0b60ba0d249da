"""Where what is derived from the lake's tables is kept. All of it can be deleted at any time, and is made anew when needed."""

import shutil
from pathlib import Path


def cache_folder(lake: Path) -> Path:
    """``LAKE/cache``. It holds copies of vectors and an index of captions' words, also of rows that were deleted since."""
    return lake / "cache"


def drop_cache(lake: Path) -> None:
    """Delete all that is derived; what removes rows for good must call this."""
    shutil.rmtree(cache_folder(lake), ignore_errors=True)
