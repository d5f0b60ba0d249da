"""Room for decoded pixels that processes share: each MiPixel is a byte of a file, taken by locking it.

The locks are POSIX record locks, which the system lets go when their process ends, however it ends.
"""

import fcntl
import math
from collections.abc import Iterator
from contextlib import contextmanager

_UNIT = 2**20  # pixels
_TURN = 0  # the byte that is held while units are being taken, so that no two wait for each other's


class SharedRoom:
    """As ``Room`` in ``captionlake.lake.pictures``, for one picture at a time in each of several processes.

    ``descriptor`` is of a file that all of them have open for writing; nothing is written to it.
    """

    def __init__(self, descriptor: int, pixels: int) -> None:
        self._descriptor, self._units = descriptor, max(1, pixels // _UNIT)

    @contextmanager
    def of(self, pixels: int) -> Iterator[None]:
        """Room for so many pixels; a picture that is larger than all the room waits until it is alone."""
        wanted = min(self._units, math.ceil(pixels / _UNIT))
        self._lock(_TURN)
        try:
            taken = self._take(wanted)
        finally:
            self._unlock(_TURN)
        try:
            yield
        finally:
            for unit in taken:
                self._unlock(unit)

    def _take(self, wanted: int) -> list[int]:
        """Those that are free, and where they are too few, the next ones as they become free."""
        taken: list[int] = []
        for wait in (False, True):
            for unit in range(1, self._units + 1):
                if len(taken) == wanted:
                    return taken
                if unit not in taken and self._lock(unit, wait=wait):
                    taken.append(unit)
        return taken

    def _lock(self, unit: int, *, wait: bool = True) -> bool:
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, unit)
        except (BlockingIOError, PermissionError):  # POSIX leaves the system the choice of EAGAIN or EACCES
            return False
        return True

    def _unlock(self, unit: int) -> None:
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, unit)
