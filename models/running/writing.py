"""``write``: captions of pictures, one after the other: read and decoded ahead in threads, batched by shape, written by an engine."""

import os
import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

from captionlake.errors import CaptionlakeError
from captionlake.lake.pictures import PictureError, open_rgb
from captionlake.lake.shards import Locator, ShardReader
from captionlake.lake.storage import Storage
from captionlake.models.running.engine import Engine, Ready, Written

_MOST_THREADS = 8
_BATCHES_AHEAD = 2
_BATCHES_OF_SHAPES = 4  # pictures of different shapes that wait for their like, in batches


@dataclass(frozen=True, slots=True)
class Job:
    """A caption to be written; ``locator`` is None where the lake has no such picture."""

    caption_id: str
    image_id: str
    locator: Locator | None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a picture gets no caption, in this run or in any other."""

    reason: str
    detail: str


Result = tuple[Job, Written | Failure]


def write(engine: Engine, images: Storage, jobs: Iterable[Job]) -> Iterator[Result]:
    """The result of each job; not quite in their order, as a batch waits until it is full. ``images``: the lake's shards."""
    reader, reading = ShardReader(images), threading.Lock()

    def prepare(job: Job) -> Ready | Failure:
        if job.locator is None:
            return Failure("bad_picture", "the lake has no such picture")
        try:
            with reading:
                data = reader.read(job.image_id, job.locator)
            return engine.ready(open_rgb(data))
        except (PictureError, CaptionlakeError, OSError) as error:
            return Failure("bad_picture", str(error))

    threads = max(2, min(_MOST_THREADS, os.cpu_count() or 1))
    pool = ThreadPoolExecutor(threads, thread_name_prefix="pictures")
    try:
        yield from batched(engine, _ahead(pool, prepare, iter(jobs), threads + _BATCHES_AHEAD * engine.batch_size))
    finally:
        pool.shutdown(cancel_futures=True)
        reader.close()


def _ahead(
    pool: ThreadPoolExecutor, prepare: Callable[[Job], Ready | Failure], jobs: Iterator[Job], most: int
) -> Iterator[tuple[Job, Ready | Failure]]:
    waiting: deque[tuple[Job, Future[Ready | Failure]]] = deque()
    while True:
        waiting.extend((job, pool.submit(prepare, job)) for job in islice(jobs, most - len(waiting)))
        if not waiting:
            return
        job, made = waiting.popleft()
        yield job, made.result()


def batched(engine: Engine, prepared: Iterator[tuple[Job, Ready | Failure]]) -> Iterator[Result]:
    """Full batches of one shape; of shapes that are rare, what there is of the most frequent once too many wait."""
    shapes: dict[Hashable, list[tuple[Job, Ready]]] = {}
    for job, ready in prepared:
        if isinstance(ready, Failure):
            yield job, ready
            continue
        like = shapes.setdefault(ready.shape, [])
        like.append((job, ready))
        waiting = sum(map(len, shapes.values()))
        if len(like) >= engine.batch_size or waiting >= _BATCHES_OF_SHAPES * engine.batch_size:
            shape = max(shapes, key=lambda shape: len(shapes[shape]))
            yield from _written(engine, shapes.pop(shape))
    for like in shapes.values():
        yield from _written(engine, like)


def _written(engine: Engine, prepared: list[tuple[Job, Ready]]) -> Iterator[Result]:
    while prepared:
        batch, prepared = prepared[: engine.batch_size], prepared[engine.batch_size :]
        for (job, _), one in zip(batch, engine.write([ready for _, ready in batch]), strict=True):
            yield job, one if one.text else Failure("empty", f"{one.output_tokens} tokens without a word")
