"""When memory runs out: told apart from other errors, and what then: smaller batches, or a word on what to lower."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeVar

import torch

from captionlake.errors import CaptionlakeError

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")


def is_out_of_memory(error: BaseException) -> bool:
    """A GPU's memory, Python's, or a processor's, of which torch tells in a plain ``RuntimeError``."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


@contextmanager
def out_of_memory(advice: str) -> Iterator[None]:
    """Where memory runs out within, an error that says ``advice``: what to lower."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise CaptionlakeError(advice) from error


class Batching(Protocol):
    """Works in batches of at most ``batch_size``."""

    batch_size: int


def in_halves(
    owner: Batching, batch: Sequence[T], work: Callable[[Sequence[T]], list[R]], *, things: str, advice: str
) -> list[R]:
    """``work(batch)``; where there is no memory for it, of its two halves, and so on; the owner's ``batch_size`` falls with them.

    ``things`` are what the batch is of. Raises with ``advice`` where there is no memory for one of them.
    """
    try:
        return work(batch)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        log.debug("out of memory: %s", error)
    # Out here the error is gone, and with it the tensors that its traceback held.
    if len(batch) == 1:
        raise CaptionlakeError(advice)
    torch.cuda.empty_cache()  # nothing where no GPU is in use
    half = (len(batch) + 1) // 2
    owner.batch_size = min(owner.batch_size, half)
    log.warning("out of memory with %d %s in a batch: going on with %d", len(batch), things, owner.batch_size)
    parts = (batch[:half], batch[half:])
    return [one for part in parts for one in in_halves(owner, part, work, things=things, advice=advice)]
