"""``ClusterWorkers``: captions written as tasks of an engine, on a cluster's nodes, each of which loads the checkpoint once."""

import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from itertools import islice

from captionlake.errors import CaptionlakeError
from captionlake.lake.engines import Engine as Cluster
from captionlake.lake.storage import Storage
from captionlake.models.checkpoint import weights_sha256
from captionlake.models.running.captioner import CheckpointCaptioner
from captionlake.models.running.engine import Engine
from captionlake.models.running.engines import make_engine
from captionlake.models.running.writing import Job, Result, write
from captionlake.placement import place

_BATCHES = 8  # of pictures, in a task
_ON_GPU, _ELSEWHERE = 32, 8  # pictures of a batch where none is named

Task = tuple[Storage, list[Job]]


class ClusterWorkers:
    """See ``Workers``. What a node had in hand when it died is written by another, in the same batches."""

    ready_at: float | None

    def __init__(self, captioner: CheckpointCaptioner, cluster: Cluster) -> None:
        self._captioner, self._cluster = captioner, cluster
        self.batch_size, self.ready_at = 0, None

    def results(self, images: Storage, jobs: Iterable[Job]) -> Generator[Result, None, None]:
        """See ``Workers``: here in the order of the tasks."""
        gpu = self._captioner.config.device != "cpu"
        loading = Loading(self._captioner)
        with closing(self._cluster.run(loading, _written, self._tasks(images, iter(jobs)), gpu=gpu)) as made:
            for result, batch_size in made:
                self.ready_at = self.ready_at or time.monotonic()
                self.batch_size = min(self.batch_size or batch_size, batch_size)
                yield result

    def _tasks(self, images: Storage, jobs: Iterator[Job]) -> Iterator[Task]:
        batch = self._captioner.config.batch_size or (_ON_GPU if self._captioner.placement.on_gpu else _ELSEWHERE)
        while part := list(islice(jobs, _BATCHES * batch)):
            yield images, part


class Loading:
    """Loads the checkpoint where it is called. Weights of another hash than the captions are filed under are refused."""

    def __init__(self, captioner: CheckpointCaptioner) -> None:
        self._captioner, self._sha256 = captioner, captioner.folder.sha256

    def __call__(self) -> Engine:
        """The engine, on a GPU where the task was given one and no other device is named."""
        folder = self._captioner.folder.path
        try:
            found = weights_sha256(folder)
        except OSError as error:
            raise CaptionlakeError(
                f"a node of the cluster cannot read {folder} ({error}): put it on a shared disk"
            ) from error
        if found != self._sha256:
            raise CaptionlakeError(
                f"a node of the cluster has other weights in {folder}: give all nodes the same checkpoint"
            )
        config, placement = self._captioner.config, self._captioner.placement
        device = place(config.device, placement.precision, extra="models").device
        return make_engine(self._captioner, device)


def _written(engine: Engine, task: Task) -> Iterator[tuple[Result, int]]:
    for result in write(engine, *task):
        yield result, engine.batch_size
