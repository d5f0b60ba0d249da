"""The write lock: one writer at a time, taken before BEGIN, let go when its process is killed.

What it keeps apart: new rows are found by an anti-join, which two transactions at once would both pass.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from captionlake.lake.place import catalog_of

WAIT_SECONDS = 300.0  # a writer waits this long for another one's commit, which takes about a second


@contextmanager
def write_lock(lake: Path, *, wait: float = WAIT_SECONDS) -> Iterator[Callable[[], None]]:
    """Hold the lake's write lock. Raises when another process holds it for longer than ``wait`` seconds.

    What it yields raises once the lock is lost, as it is when a server that keeps it goes away.
    """
    with catalog_of(lake).lock(wait) as still_held:
        yield still_held
