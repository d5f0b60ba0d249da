"""Pictures in folders, zips and tars: which of an archive's members a source takes."""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from captionlake.lake.archives import Member, members
from captionlake.lake.reasons import FailureReason

PICTURES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic")
)
_ARCHIVES = (".zip", ".tar")
_AGAIN = re.compile(r"#\d+$")  # what a listing adds to a name that stands there twice


def holds_pictures(path: Path) -> bool:
    """Whether an input is a folder or an archive, and not a table."""
    return path.is_dir() or path.suffix.lower() in _ARCHIVES


def is_picture(name: str) -> bool:
    """By the name alone; what is in the file is seen when it is read."""
    return PurePosixPath(_AGAIN.sub("", name)).suffix.lower() in PICTURES


def picture_members(archive: Path) -> Iterator[Member]:
    """The members that are pictures by their names, and a member with its reason for each part that a damaged archive lost."""
    for member in members(archive):
        if is_picture(member.name) or member.reason is FailureReason.TRUNCATED:
            yield member
