"""Work on rows by processes on all cores, or here where the rows are few. Answers come in the order of the tasks.

A process takes half a second to start. It reads tasks from its stdin, a line of JSON each, and ends with it: so it ends with this
process, however that ends.
"""

import json
import logging
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self

from captionlake.curation.flags.job import JOBS, Row
from captionlake.errors import CaptionlakeError

MANY = 4000  # rows, from which on processes are worth their start


class Crew:
    """Does one of ``JOBS`` with its settings, for about ``rows`` rows. Use it in a ``with``."""

    def __init__(self, job: str, settings: dict[str, Any], rows: int, processes: int | None = None) -> None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        wanted = (processes or cores) if rows >= MANY or processes else 1
        self._work = JOBS[job](settings)
        self._processes = [_Process(job, settings) for _ in range(wanted)] if wanted > 1 else []
        self._free: SimpleQueue[_Process] = SimpleQueue()
        for process in self._processes:
            self._free.put(process)
        self._pool = ThreadPoolExecutor(max(1, len(self._processes)), thread_name_prefix="flags")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.end()
        self._pool.shutdown(cancel_futures=True)

    def run(self, tasks: Iterable[list[Row]]) -> Iterator[list[Any]]:
        """An answer a row, task by task, a few tasks read ahead."""
        if not self._processes:
            yield from map(self._work, tasks)
            return
        waiting: deque[Future[list[Any]]] = deque()
        for task in tasks:
            waiting.append(self._pool.submit(self._done, task))
            if len(waiting) > 2 * len(self._processes):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _done(self, task: list[Row]) -> list[Any]:
        process = self._free.get()
        try:
            return process.ask(task)
        finally:
            self._free.put(process)


class _Process:
    def __init__(self, job: str, settings: dict[str, Any]) -> None:
        self._running = subprocess.Popen(
            [sys.executable, "-P", "-m", "captionlake.curation.flags.worker", job, json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            process_group=0,  # a Ctrl-C at the terminal is for this process, which ends the others
        )

    def ask(self, task: list[Row]) -> list[Any]:
        assert self._running.stdin is not None and self._running.stdout is not None
        reply = b""
        try:
            self._running.stdin.write(json.dumps(task).encode() + b"\n")
            self._running.stdin.flush()
            reply = self._running.stdout.readline()
        except (BrokenPipeError, ValueError) as error:
            logging.getLogger(__name__).debug("a checking process is gone: %s", error)
        if not reply.endswith(b"\n"):
            raise CaptionlakeError(
                "a process that checks captions ended before its time, most likely for want of memory: free some and run this "
                "again; what was stored before is kept"
            )
        found: list[Any] | dict[str, str] = json.loads(reply)
        if isinstance(found, dict):
            raise CaptionlakeError(
                f"a caption could not be checked ({found['error'][:300]}): run this with --debug and --processes 1"
            )
        return found

    def end(self) -> None:
        self._running.kill()  # it has nothing to lose
        self._running.wait()
        for pipe in (self._running.stdin, self._running.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue
