"""Pictures to vectors, batch by batch, and smaller batches where memory runs out."""

import logging
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING

from captionlake.curation.encoder import Encoder
from captionlake.curation.preparing import MANY, Preparation, Processes, Threads
from captionlake.errors import CaptionlakeError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    Prepared = tuple[str, torch.Tensor]
    Vectors = tuple[list[str], npt.NDArray[np.float32]]

log = logging.getLogger(__name__)


class Encoding:
    """An encoder with its threads and processes; ``batch_size`` gets smaller where memory runs out, and stays so.

    ``expected``: how many pictures may come. Where the model runs on a device of its own, other pictures are prepared meanwhile, by
    processes where they are many. On the processor both would take each other's cores, and each of the model's threads would
    wait for the one that decodes: a batch is decoded by all cores, then computed by all.
    """

    def __init__(
        self, encoder: Encoder, *, batch_size: int | None = None, threads: int | None = None, expected: int = 0
    ) -> None:
        self.encoder = encoder
        self.batch_size = batch_size or encoder.batch_size
        beside = encoder.batches_at_once > 1
        self._preparation: Preparation
        if beside and expected >= MANY:
            self._preparation = Processes(encoder.prepare, threads)
        else:
            ahead = self.batch_size * (2 if beside else 1)
            self._preparation = Threads(encoder.prepare, threads, beside=beside, ahead=ahead)
        self._models = ThreadPoolExecutor(encoder.batches_at_once, thread_name_prefix="model")

    def close(self) -> None:
        """End threads and processes."""
        self._preparation.close()
        self._models.shutdown(cancel_futures=True)

    def run(self, pictures: Iterable[tuple[str, bytes]]) -> "Iterator[Vectors]":
        """Ids of a batch and their vectors, (B, D) float32 of unit length, in the order of ``pictures``.

        Raises, naming the picture, where one cannot be decoded or has no usable vector.
        """
        prepared = self._preparation.run(pictures)
        waiting: deque[Future[Vectors]] = deque()
        try:
            while batch := list(islice(prepared, self.batch_size)):
                waiting.append(self._models.submit(self._vectors, batch))
                if len(waiting) >= self.encoder.batches_at_once:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
            prepared.close()

    def _vectors(self, batch: "list[Prepared]") -> "Vectors":
        import numpy as np

        ids = [image_id for image_id, _ in batch]
        made: list[npt.NDArray[np.float32]] = []
        done, step = 0, len(batch)
        while done < len(batch):
            step = min(step, self.batch_size)
            try:
                made.append(self.encoder.vectors([picture for _, picture in batch[done : done + step]]))
                done += step
            except ValueError as error:
                raise CaptionlakeError(
                    f"{self.encoder.model_id} made no usable vector ({error}) among pictures {ids[0]} … {ids[-1]}: "
                    "check the model's weights, and look at these pictures"
                ) from error
            except (RuntimeError, MemoryError) as error:
                if not _is_out_of_memory(error):
                    raise
                step = self._smaller(step, error)
        return ids, np.concatenate(made)

    def _smaller(self, step: int, error: BaseException) -> int:
        """Half of ``step``, from now on the size of a batch."""
        import torch

        if step == 1:
            raise CaptionlakeError(
                f"memory runs out with a batch of one picture on {self.encoder.model_id}: "
                "give it a larger device, another device, or a smaller model"
            ) from error
        self.batch_size = min(self.batch_size, step // 2)
        log.warning("memory ran out with %d pictures at a time: going on with %d", step, self.batch_size)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return self.batch_size


def _is_out_of_memory(error: BaseException) -> bool:
    """torch has a class of its own for a GPU's memory; for the processor's it raises a bare RuntimeError."""
    import torch

    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
