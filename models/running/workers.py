"""Who writes: this process, or several, each with the model on a device of its own. They write texts; only the parent touches tables."""

import logging
import multiprocessing
import os
import queue
import signal
import threading
import time
import traceback
from collections.abc import Generator, Iterable, Iterator
from itertools import islice
from multiprocessing.connection import wait
from typing import Any, Protocol

from captionlake.errors import CaptionlakeError
from captionlake.lake.storage import Storage
from captionlake.models.running.captioner import CheckpointCaptioner
from captionlake.models.running.engines import make_engine
from captionlake.models.running.writing import Job, Result, write

log = logging.getLogger(__name__)

_POLL = 0.5  # seconds between looks at whether all workers live
_PATIENCE = 10.0
_BATCHES_OUT = (
    8  # of jobs that a worker may have; more than ``write`` holds, so that none waits for jobs that wait for it
)
_MORE_OUT = 64


class Workers(Protocol):
    """``batch_size`` and ``ready_at`` (``time.monotonic``; None where nothing was written) are known after the last result."""

    batch_size: int
    ready_at: float | None

    def results(self, images: Storage, jobs: Iterable[Job]) -> Generator[Result, None, None]:
        """The result of each job, in any order."""


class Here:
    """One worker, in this process."""

    ready_at: float | None

    def __init__(self, captioner: CheckpointCaptioner, device: str) -> None:
        self._captioner, self._device = captioner, device
        self.batch_size, self.ready_at = 0, None

    def results(self, images: Storage, jobs: Iterable[Job]) -> Generator[Result, None, None]:
        """See ``Workers``."""
        engine = make_engine(self._captioner, self._device)
        self.ready_at = time.monotonic()
        for result in write(engine, images, jobs):
            self.batch_size = engine.batch_size
            yield result


class Processes:
    """A process a device. What one was at when it dies is lost, and another run writes it."""

    ready_at: float | None

    def __init__(self, captioner: CheckpointCaptioner, devices: list[str]) -> None:
        self._captioner, self._devices = captioner, devices
        self.batch_size, self.ready_at = 0, None

    def results(self, images: Storage, jobs: Iterable[Job]) -> Generator[Result, None, None]:
        """See ``Workers``. Raises where a worker fails or dies."""
        context = multiprocessing.get_context("spawn")
        waiting, done = context.Queue(), context.Queue()
        count = len(self._devices)
        processes = [
            context.Process(
                target=_work, args=(self._captioner, device, count, images, waiting, done), name=f"captions {device}"
            )
            for device in self._devices
        ]
        for process in processes:
            process.start()
        try:
            yield from self._exchanged(processes, waiting, done, iter(jobs))
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.join(_PATIENCE)
            for each in (waiting, done):
                each.cancel_join_thread()
                each.close()

    def _exchanged(self, processes: list[Any], waiting: Any, done: Any, jobs: Iterator[Job]) -> Iterator[Result]:
        batch = self._captioner.config.batch_size or 32
        most, out, working = len(processes) * (_BATCHES_OUT * batch + _MORE_OUT), 0, len(processes)
        ended = False
        while working:
            if not ended:
                more = list(islice(jobs, most - out))
                for job in more:
                    waiting.put(job)
                out += len(more)
                if out < most:
                    ended = True
                    for _ in processes:
                        waiting.put(None)
            try:
                kind, told = done.get(timeout=_POLL)
            except queue.Empty:
                _check_alive(processes)
                continue
            if kind == "result":
                out -= 1
                yield told
            elif kind == "ready":
                self.ready_at = self.ready_at or time.monotonic()
            elif kind == "done":
                working -= 1
                self.batch_size = min(self.batch_size or told, told)
            elif kind == "error":
                raise CaptionlakeError(told)
            else:
                raise RuntimeError(f"a worker failed:\n{told}")


def _check_alive(processes: list[Any]) -> None:
    for process in processes:
        if process.exitcode not in (None, 0):
            why = "most likely for want of memory" if process.exitcode == -signal.SIGKILL else "see its words above"
            raise CaptionlakeError(
                f"the worker {process.name} ended with status {process.exitcode}, {why}: lower --batch-size or --workers and run this again"
            )


def _work(captioner: CheckpointCaptioner, device: str, workers: int, images: Storage, waiting: Any, done: Any) -> None:
    """A worker's life: until it is told that there is no more, or the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this one
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import torch

    torch.set_num_threads(max(1, torch.get_num_threads() // workers))
    try:
        engine = make_engine(captioner, device)
        done.put(("ready", None))
        for result in write(engine, images, iter(waiting.get, None)):
            done.put(("result", result))
        done.put(("done", engine.batch_size))
    except CaptionlakeError as error:
        done.put(("error", str(error)))
    except Exception:
        done.put(("failed", traceback.format_exc()))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
