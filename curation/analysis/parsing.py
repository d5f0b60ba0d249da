"""Texts through the parser in order: by processes where they are many.

The processes import spaCy and load the model, which takes seconds, and end with this one however it ends.
"""

import multiprocessing
import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from captionlake.curation.analysis.parser import Counts, Parser, load_parser
from captionlake.errors import CaptionlakeError

_AHEAD = 3  # tasks of each process that wait or are done

_parser: Parser  # of a process of the pool


def parse_here(tasks: Iterable[Sequence[str]], package: str) -> Iterator[list[Counts]]:
    """The counts of the texts of each task, in this process."""
    parser = load_parser(package)
    for texts in tasks:
        yield parser.counts(texts)


def parse_beside(tasks: Iterable[Sequence[str]], package: str, processes: int) -> Iterator[list[Counts]]:
    """As ``parse_here``, by so many processes; in order. Raises where one of them was killed."""
    load_parser(package)  # what is wrong with it is told here
    pool = ProcessPoolExecutor(
        processes,
        mp_context=multiprocessing.get_context("spawn"),  # a fork would keep the locks of DuckDB's threads
        initializer=_begin,
        initargs=(package, os.getpid()),
    )
    waiting: deque[Future[list[Counts]]] = deque()
    try:
        for texts in tasks:
            waiting.append(pool.submit(_count, texts))
            if len(waiting) > _AHEAD * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise CaptionlakeError(
            "a process that parses captions was killed, most likely for want of memory: free some, or give fewer --processes, "
            "and run this again; what was stored before is kept"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(package: str, parent: int) -> None:
    """Load the parser, and end when the parent is gone, also in the middle of a task."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    global _parser
    _parser = load_parser(package)


def _count(texts: Sequence[str]) -> list[Counts]:
    return _parser.counts(texts)
