"""A card's files onto disk: all are written beside the folder first, then put in place one by one, README.md last.

A kill at any moment leaves the old README.md or the new one, whole, and never one that names a file that is not there.
"""

import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from captionlake.errors import CaptionlakeError
from captionlake.lake.durable import sync_folder

README = "README.md"
_STALE_SECONDS = 3600


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A staging folder beside ``folder``, removed at the end; also removes those that killed processes left."""
    if folder.exists() and not folder.is_dir():
        raise CaptionlakeError(f"{folder} is a file: name a folder for the card")
    prefix = f".{folder.name}.card-"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        for left in folder.parent.glob(f"{prefix}*"):
            if time.time() - left.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
        staging = folder.parent / f"{prefix}{uuid.uuid4().hex[:12]}"
        staging.mkdir()
    except OSError as error:
        raise CaptionlakeError(
            f"nothing can be written beside {folder} ({error.strerror}): choose another folder"
        ) from error
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def write(staging: Path, files: Mapping[str, bytes]) -> None:
    """Write files by relative name and fsync each."""
    for name, content in files.items():
        path = staging / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


def place(staging: Path, folder: Path, obsolete: set[str]) -> list[Path]:
    """Move every staged file to its place, README.md last; then remove files of an older card that this one has not."""
    names = sorted(
        (str(path.relative_to(staging)) for path in staging.rglob("*") if path.is_file()),
        key=lambda n: (n == README, n),
    )
    placed = []
    for name in names:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (staging / name).replace(target)
        placed.append(target)
    for name in obsolete - set(names):
        (folder / name).unlink(missing_ok=True)
    for directory in {path.parent for path in placed}:
        sync_folder(directory)
    return placed
