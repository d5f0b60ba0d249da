"""What makes a rename last through a loss of power."""

import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Write a folder's entries to its disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
