"""Items of an iterator, made in a thread of their own some time before they are wanted."""

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

T = TypeVar("T")
_WAIT = 0.1  # seconds


class _Failed:
    def __init__(self, error: BaseException) -> None:
        self.error = error


def ahead(items: Iterable[T], most: int = 4) -> Generator[T]:
    """The same items in the same order; at most so many wait. What making them raises is raised here, and nothing is made after the end."""
    made: queue.Queue[T | _Failed | None] = queue.Queue(most)
    ended = threading.Event()

    def put(item: T | _Failed | None) -> bool:
        while not ended.is_set():
            try:
                made.put(item, timeout=_WAIT)
                return True
            except queue.Full:
                continue
        return False

    def make() -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(None)
        except BaseException as error:
            put(_Failed(error))

    thread = threading.Thread(target=make, name="ahead", daemon=True)
    thread.start()
    try:
        while (item := made.get()) is not None:
            if isinstance(item, _Failed):
                raise item.error
            yield item
    finally:
        ended.set()
        thread.join()
