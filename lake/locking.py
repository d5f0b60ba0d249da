"""The write lock: one writer at a time, taken before BEGIN, held by the operating system and so let go by a killed process."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from captionlake.errors import CaptionlakeError

WAIT_SECONDS = 300.0  # a writer waits this long for another one's commit, which takes about a second


@contextmanager
def write_lock(lake: Path, *, wait: float = WAIT_SECONDS) -> Iterator[None]:
    """Hold ``lake.lock``. Raises when another process holds it for longer than ``wait`` seconds."""
    lock = FileLock(lake / "lake.lock", timeout=wait)
    try:
        lock.acquire()
    except Timeout as error:
        raise CaptionlakeError(
            f"another process has been writing to {lake} for over {wait:.0f} s: wait for it, or end it, and run this again"
        ) from error
    try:
        yield
    finally:
        lock.release()
