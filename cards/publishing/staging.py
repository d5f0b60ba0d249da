"""A release as files, ready to go up: exported once, and found again by a publish that follows a killed one.

They lie in ``LAKE/cache/publish/``, named by what they say; a takedown drops that folder with all that is derived.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.cache import cache_folder
from captionlake.lake.durable import sync_folder
from captionlake.lake.releases.redacted import redacted_rows
from captionlake.lake.releases.release import Release

MARK = "captionlake-publication.json"  # in a repository: that captionlake published it, and which version stands there


def release_mark(lake: Lake, release: Release) -> dict[str, Any]:
    """What stands in its ``MARK``; it tells a release from the same one with rows taken down."""
    return {
        "format": 1,
        "kind": "dataset",
        "name": release.name,
        "version": release.version,
        "content_sha256": release.content_sha256,
        "n_items": release.n_items,
        "redacted": len(redacted_rows(lake, release)),
    }


@dataclass(frozen=True, slots=True)
class Staging:
    """Where a release is laid ready."""

    folder: Path

    def discard(self) -> None:
        """Remove it; after it is published."""
        shutil.rmtree(self.folder, ignore_errors=True)


def clear(lake: Lake) -> None:
    """Remove what earlier publishes laid ready, unless one is going on."""
    root = cache_folder(lake.path) / "publish"
    if not root.is_dir():
        return
    try:
        with FileLock(root / "publish.lock", timeout=0):
            for folder in (path for path in root.iterdir() if path.is_dir()):
                shutil.rmtree(folder, ignore_errors=True)
    except Timeout:
        return


@contextmanager
def held(lake: Lake, label: str) -> Iterator[None]:
    """One publish of a lake at a time: the others would clear away each other's files."""
    root = cache_folder(lake.path) / "publish"
    root.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(root / "publish.lock", timeout=0):
            yield
    except Timeout:
        raise CaptionlakeError(
            f"another process is publishing from {lake.path}: wait for it, then publish {label} again"
        ) from None


def stage(lake: Lake, release: Release, repo_id: str) -> Staging:
    """Export, card and mark of a release, whole; what is there from before is used. Call it inside ``held``."""
    from captionlake.cards.dataset_card import write_card
    from captionlake.lake.exports.forms import export_release

    mark = release_mark(lake, release)
    text = json.dumps(mark, indent=1, ensure_ascii=False) + "\n"
    key = hashlib.sha256(f"{text}{release.snapshot_id}{repo_id}".encode()).hexdigest()[:20]
    root = cache_folder(lake.path) / "publish"
    folder = root / key
    for other in root.iterdir():  # of other content, or begun by a process that was killed
        if other.is_dir() and other != folder:
            shutil.rmtree(other, ignore_errors=True)
    if folder.is_dir():
        return Staging(folder)
    draft = root / f"{key}.part"
    try:
        draft.mkdir()
        export_release(lake, release.label, "parquet", draft / "export", note=False)
        write_card(lake, release.label, draft / "export", export=draft / "export", repo=repo_id)
        (draft / "export" / MARK).write_text(text, encoding="utf-8")
        (draft / "export").rename(folder)
        sync_folder(root)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Staging(folder)
