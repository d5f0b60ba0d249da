"""Pictures in folders, zips and tars: which of an archive's members a source takes."""

import re
from collections.abc import Iterator
from pathlib import Path

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
    base = (_AGAIN.sub("", name) if "#" in name else name).rpartition("/")[2]
    dot = base.rfind(".")  # a path object would tell the same, and takes longer than the listing of a tar
    return dot > 0 and base[dot:].lower() in PICTURES


def picture_members(archive: Path) -> Iterator[Member]:
    """The members that are pictures by their names, and a member with its reason for each part that a damaged archive lost."""
    for member in members(archive):
        if is_picture(member.name) or member.reason is FailureReason.TRUNCATED:
            yield member
