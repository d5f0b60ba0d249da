"""Pictures looked at beside the caller's work: by threads where they are few, by processes where they are many.

Threads share the interpreter's lock with all else that the program does: of 10,000 JPEGs on two cores an ingest took 1.5 times as
long with threads. A process takes about a tenth of a second to start. It ends with this one, however that ends: its stdin is a pipe from
here. Its pictures' pixels have room in common with those of the others.
"""

import fcntl
import json
import logging
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import IO, Any

from captionlake.errors import CaptionlakeError
from captionlake.lake.measures import Nsfw
from captionlake.lake.pictures import Picture, PictureError
from captionlake.lake.reasons import FailureReason
from captionlake.lake.seen import Seen, look

log = logging.getLogger(__name__)

READY = b"ready\n"  # what a process says when it takes tasks
MANY = 1000  # pictures, from which on processes are worth their start
_PIPE_BYTES = 2**20
_PATIENCE = 10.0  # seconds in which a process that was told to end must be gone
_MOST_PARTS = 1024  # of one writev

Task = Sequence[tuple[bytes, str | None]]  # pictures with their alt texts
Answer = list[Seen | PictureError]


class Decoders:
    """Looks at pictures on all cores. Threads do it until ``expect`` is told of many pictures; ``close`` ends all."""

    def __init__(self, *, nsfw: bool = False) -> None:
        self._nsfw = Nsfw() if nsfw else None
        self._cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(2 * self._cores, thread_name_prefix="decode")
        self._by_threads = threading.BoundedSemaphore(self._cores)
        self._processes: list[_Process] = []
        self._by_processes = False
        self._free: queue.SimpleQueue[_Process] = queue.SimpleQueue()
        self._room: IO[bytes] | None = None

    def expect(self, pictures: int) -> None:
        """So many may come: start processes where that is worth it."""
        if pictures < MANY or self._cores == 1 or self._room is not None:
            return
        self._room = tempfile.TemporaryFile()  # noqa: SIM115  (closed by ``close``)
        for _ in range(self._cores):
            self._processes.append(_Process(self._room.fileno(), nsfw=self._nsfw is not None))
        for process in self._processes * 2:  # one task to work at, and one that waits in the pipe
            self._free.put(process)
        self._by_processes = True

    def submit(self, task: Task) -> "Future[Answer]":
        """Look at these pictures, one after the other. Raises ``CaptionlakeError`` where they cannot be looked at."""
        return self._pool.submit(self._done, task)

    def close(self) -> None:
        """Drop what has not begun, and end threads and processes."""
        self._pool.shutdown(cancel_futures=True)
        for process in self._processes:
            process.close()
        if self._room is not None:
            self._room.close()

    def _done(self, task: Task) -> Answer:
        if self._by_processes and task:
            process = self._free.get()
            try:
                return _seen(process.ask(task))
            except _NotStarted as error:
                self._by_processes = False
                log.warning("no decoding process starts (%s): threads decode, which takes longer", error)
            finally:
                self._free.put(process)
        with self._by_threads:
            return [look(data, alt, self._nsfw) for data, alt in task]


class _NotStarted(Exception):
    """A process did not come to the point of taking tasks."""


class _Process:
    """A decoding process, and a new one in its place where it died.

    For two threads: one waits for the answer to its task while the other one hands in the next.
    """

    def __init__(self, room: int, *, nsfw: bool) -> None:
        self._room, self._options = room, json.dumps({"room": room, "nsfw": nsfw})
        self._handing, self._waiting = threading.Lock(), threading.Lock()
        self._ready = False
        self._running: subprocess.Popen[bytes] | None = None
        with suppress(OSError):  # tried again when there is a task
            self._running = self._start()

    def ask(self, task: Task) -> list[list[Any]]:
        """The reply to a task. Where the process dies, a second one is asked."""
        reply = self._reply(task) or self._reply(task)
        if reply is None:
            raise CaptionlakeError(
                "two processes, one after the other, were killed while they decoded the same pictures, most likely for want of "
                "memory: free some and run this again; what was stored before is kept"
            )
        found: list[list[Any]] | dict[str, str] = json.loads(reply)
        if isinstance(found, dict):
            raise CaptionlakeError(
                f"a picture could not be looked at ({' '.join(found['error'].split())[:300]}): run this with --debug"
            )
        return found

    def close(self) -> None:
        """End the process, which must have answered all tasks: it has nothing to lose."""
        if self._running is not None:
            self._running.kill()
            _end(self._running)

    def _reply(self, task: Task) -> bytes | None:
        """A line; None where the process died."""
        header = json.dumps([(len(data), alt) for data, alt in task]).encode() + b"\n"
        with self._handing:
            process = self._taking()
            with suppress(BrokenPipeError):  # the end of its answers says so too
                _write_all(_pipe(process.stdin).fileno(), [header, *(data for data, _ in task)])
            self._waiting.acquire()  # before the next task is handed in, as answers come in the order of tasks
        try:
            answers = _pipe(process.stdout)
            reply = b"" if answers.closed else answers.readline()
            if reply.endswith(b"\n"):
                return reply
            _end(process)
            return None
        finally:
            self._waiting.release()

    def _taking(self) -> "subprocess.Popen[bytes]":
        """The process, ready to take a task."""
        try:
            if self._running is None or self._running.poll() is not None:
                self._running, self._ready = self._start(), False
            if not self._ready and _pipe(self._running.stdout).readline() != READY:
                _end(self._running)
                raise _NotStarted(f"status {self._running.returncode}")
        except OSError as error:
            raise _NotStarted(str(error)) from error
        self._ready = True
        return self._running

    def _start(self) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            [sys.executable, "-P", "-W", "ignore", "-m", "captionlake.lake.decoder", self._options],
            stdin=subprocess.PIPE,  # its end is the process's end
            stdout=subprocess.PIPE,
            pass_fds=[self._room],
            env={
                **os.environ,
                "OPENBLAS_NUM_THREADS": "1",
                "OMP_NUM_THREADS": "1",
            },  # matrices of 32 x 32 need no threads
            process_group=0,  # a Ctrl-C at the terminal is for this process, which ends the others
        )
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            with suppress(OSError):  # the system's limit
                fcntl.fcntl(_pipe(process.stdin), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        return process


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


def _end(process: "subprocess.Popen[bytes]") -> None:
    _pipe(process.stdin).close()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _pipe(process.stdout).close()


def _write_all(descriptor: int, parts: list[bytes]) -> None:
    left = [memoryview(part) for part in parts]
    while left:
        written = os.writev(descriptor, left[:_MOST_PARTS])
        while left and written >= len(left[0]):
            written -= len(left.pop(0))
        if written:
            left[0] = left[0][written:]


def _seen(reply: list[Any]) -> Answer:
    found: Answer = []
    for values in reply:
        if len(values) == 2:
            found.append(PictureError(FailureReason(values[0]), values[1]))
        else:
            image_id, *facts, score, language = values
            found.append(Seen(image_id, Picture(*facts), score, language))
    return found
