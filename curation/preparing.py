"""Stored pictures as a model's input, in order: by threads, or beside a device by processes where they are many.

Threads share the interpreter's lock with what feeds the device: sixteen of them prepared 700 pictures a second, where as many
processes prepare thousands. Processes are torch's DataLoader's, and end with this one however it ends; they start at the first
picture, and take some seconds for it.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from captionlake.errors import CaptionlakeError

if TYPE_CHECKING:
    import torch

    Picture = tuple[str, bytes]
    Prepared = tuple[str, torch.Tensor]
    Prepare = Callable[[bytes], torch.Tensor]

MANY = 5000  # pictures, from which on processes are worth their start
_PER_TASK = 16
_TASKS_AHEAD = 4  # of each process


class Preparation(Protocol):
    """Prepares pictures; ``run`` may be called again when it has ended."""

    def run(self, pictures: "Iterable[Picture]") -> "Generator[Prepared]": ...

    def close(self) -> None: ...


class Threads:
    """Holds ``ahead`` pictures beyond the one that it gives, or gives ``ahead`` at a time where nothing runs ``beside`` it."""

    def __init__(self, prepare: "Prepare", threads: int | None, *, beside: bool, ahead: int) -> None:
        self._prepare, self._beside, self._ahead = prepare, beside, ahead
        self._pool = ThreadPoolExecutor(threads or os.cpu_count(), thread_name_prefix="decode")

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(cancel_futures=True)

    def run(self, pictures: "Iterable[Picture]") -> "Generator[Prepared]":
        """In order. Raises, naming the picture, where one cannot be decoded."""
        waiting: deque[tuple[str, Future[torch.Tensor]]] = deque()
        try:
            for image_id, data in pictures:
                waiting.append((image_id, self._pool.submit(self._prepare, data)))
                if len(waiting) >= self._ahead:
                    for _ in range(1 if self._beside else len(waiting)):
                        yield _result(*waiting.popleft())
            while waiting:
                yield _result(*waiting.popleft())
        finally:
            for _, future in waiting:
                future.cancel()


class Processes:
    """``prepare`` is pickled for them."""

    def __init__(self, prepare: "Prepare", processes: int | None) -> None:
        from torch.utils.data import DataLoader

        self._tasks = _Tasks()
        self._loader: DataLoader[Any] = DataLoader(
            _Prepares(prepare),  # type: ignore[arg-type]
            batch_sampler=self._tasks,
            num_workers=processes or os.cpu_count() or 1,
            prefetch_factor=_TASKS_AHEAD,
            collate_fn=_as_it_is,
            multiprocessing_context="spawn",  # a fork would keep the locks of this process's threads; a fork server outlives it
            persistent_workers=True,
            worker_init_fn=partial(_end_with, os.getpid()),
        )

    def close(self) -> None:
        """End the processes."""
        del self._loader

    def run(self, pictures: "Iterable[Picture]") -> "Generator[Prepared]":
        """In order. Raises, naming the picture, where one cannot be decoded, and where a process was killed."""
        import torch

        self._tasks.pictures = pictures
        try:
            for task in self._loader:
                for image_id, found in task:
                    if isinstance(found, str):
                        raise _undecoded(image_id, found)
                    yield image_id, torch.from_numpy(found)
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise CaptionlakeError(
                "a process that decodes pictures was killed, most likely for want of memory: free some, or give fewer --threads, "
                "and run this again; what was stored before is kept"
            ) from error


class _Tasks:
    """Some pictures at a time, of those that are to be prepared now: what DataLoader calls a batch sampler."""

    def __init__(self) -> None:
        self.pictures: Iterable[Picture] = ()

    def __iter__(self) -> "Iterator[list[Picture]]":
        left = iter(self.pictures)
        while task := list(islice(left, _PER_TASK)):
            yield task


class _Prepares:
    """What a process does with a task. Arrays go back through its pipe: shared memory is scarce in containers."""

    def __init__(self, prepare: "Prepare") -> None:
        self._prepare = prepare

    def __getitems__(self, task: "list[Picture]") -> list[tuple[str, Any]]:
        return [(image_id, self._array(data)) for image_id, data in task]

    def _array(self, data: bytes) -> Any:
        """An array, or why there is none."""
        try:
            return self._prepare(data).numpy()
        except Exception as error:
            return f"{type(error).__name__}: {error}"


def _end_with(parent: int, _: int) -> None:
    """DataLoader looks for the parent too, but a process that waits for its results to be read then waits for good."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _as_it_is(found: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    return found


def _result(image_id: str, future: "Future[torch.Tensor]") -> "Prepared":
    try:
        return image_id, future.result()
    except Exception as error:  # Pillow's decoders raise many kinds
        raise _undecoded(image_id, str(error)) from error


def _undecoded(image_id: str, why: str) -> CaptionlakeError:
    return CaptionlakeError(
        f"picture {image_id} cannot be decoded ({' '.join(why.split())[:200]}): "
        "restore its shard from a backup, or take the picture down"
    )
