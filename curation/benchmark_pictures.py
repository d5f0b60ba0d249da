"""A benchmark's pictures, each once: hash, perceptual hash and vector, and the items that show it."""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from captionlake.curation.benchmarks import Benchmark, Item
from captionlake.errors import CaptionlakeError
from captionlake.lake.pictures import PictureError, inspect
from captionlake.lake.progress import progress
from captionlake.lake.reasons import FailureReason

if TYPE_CHECKING:
    import torch

    from captionlake.curation.encoder import Encoder

_BATCH = 64  # pictures decoded ahead where no model says how many it takes


@dataclass(frozen=True, slots=True)
class Unread:
    """An item without a picture, and why."""

    item: str
    reason: str
    detail: str


@dataclass(slots=True)
class BenchmarkPictures:
    """P distinct pictures: ``sha256`` (hex), ``phash``, ``blank`` (its perceptual hash says nothing), ``vectors`` (P, D).

    ``items``: (item, its picture's place), ``unread``: the other items.
    """

    sha256: list[str] = field(default_factory=list)
    phash: list[int] = field(default_factory=list)
    blank: list[bool] = field(default_factory=list)
    vectors: "npt.NDArray[np.float32] | None" = None
    items: list[tuple[str, int]] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)


def read_pictures(benchmark: Benchmark, model: "Encoder | None") -> BenchmarkPictures:
    """Read all items, decode each distinct picture once, and embed it where there is a model. The bytes are not kept."""
    found, listing = BenchmarkPictures(), _Listing()
    places: dict[str, int | PictureError] = {}  # SHA-256 -> place, or why it is no picture
    parts: list[npt.NDArray[np.float32]] = []
    size = model.batch_size if model else _BATCH
    with ThreadPoolExecutor(os.cpu_count()) as pool, progress(f"read {benchmark.name}", None) as advance:
        looked = _looked_at(listing.new_pictures(benchmark.items(), advance), model, pool, 2 * size)
        while batch := list(islice(looked, size)):
            prepared = []
            for sha256, seen in batch:
                if isinstance(seen, PictureError):
                    places[sha256] = seen
                    continue
                places[sha256] = len(found.sha256)
                found.sha256.append(sha256)
                found.phash.append(seen.phash)
                found.blank.append(seen.blank)
                prepared += [seen.prepared] if seen.prepared is not None else []
            if model is not None and prepared:
                parts.append(_vectors(benchmark, model, prepared))
    if model is not None and parts:
        found.vectors = np.concatenate(parts)
    listing.assign(found, places)
    return found


@dataclass(frozen=True, slots=True)
class _Seen:
    phash: int
    blank: bool
    prepared: "torch.Tensor | None"


class _Listing:
    """What the items show, as they come by."""

    def __init__(self) -> None:
        self._shown: list[tuple[str, str]] = []  # item, SHA-256 of its picture
        self._references: list[tuple[str, str]] = []  # item, the item whose picture it shows
        self._unread: list[Unread] = []

    def new_pictures(self, items: Iterable[Item], advance: Callable[[int], None]) -> Iterator[tuple[str, bytes]]:
        """(SHA-256, bytes) of each picture when it comes by first."""
        seen: set[str] = set()
        for item in items:
            advance(1)
            if item.data is not None:
                sha256 = hashlib.sha256(item.data).hexdigest()
                self._shown.append((item.name, sha256))
                if sha256 not in seen:
                    seen.add(sha256)
                    yield sha256, item.data
            elif item.same_as is not None:
                self._references.append((item.name, item.same_as))
            else:
                self._unread.append(Unread(item.name, str(item.reason or FailureReason.BAD_ROW), item.detail))

    def assign(self, found: BenchmarkPictures, places: Mapping[str, int | PictureError]) -> None:
        """Give each item the place of its picture, or the reason why it has none."""
        by_item = dict(reversed(self._shown))  # of two items of one name the first
        for item, other in self._references:
            if other in by_item:
                self._shown.append((item, by_item[other]))
            else:
                detail = f"it shows the picture of {other}, which has none"
                self._unread.append(Unread(item, str(FailureReason.MISSING_MEMBER), detail))
        for item, sha256 in self._shown:
            place = places[sha256]
            if isinstance(place, PictureError):
                self._unread.append(Unread(item, str(place.reason), place.detail))
            else:
                found.items.append((item, place))
        found.unread = self._unread


def _looked_at(
    pictures: Iterator[tuple[str, bytes]], model: "Encoder | None", pool: ThreadPoolExecutor, ahead: int
) -> Iterator[tuple[str, _Seen | PictureError]]:
    """Each picture decoded, in order; at most ``ahead`` are being decoded or wait."""
    waiting: deque[tuple[str, Future[_Seen | PictureError]]] = deque()
    for sha256, data in pictures:
        waiting.append((sha256, pool.submit(_look, data, model)))
        if len(waiting) >= ahead:
            done, future = waiting.popleft()
            yield done, future.result()
    while waiting:
        done, future = waiting.popleft()
        yield done, future.result()


def _look(data: bytes, model: "Encoder | None") -> _Seen | PictureError:
    try:
        picture = inspect(data)
        return _Seen(picture.phash, picture.is_blank, model.prepare(data) if model else None)
    except PictureError as error:
        return error


def _vectors(benchmark: Benchmark, model: "Encoder", prepared: "list[torch.Tensor]") -> "npt.NDArray[np.float32]":
    try:
        return model.vectors(prepared)
    except ValueError as error:
        raise CaptionlakeError(
            f"{model.model_id} made no usable vector of a picture of {benchmark.name} ({error}): check the model's weights"
        ) from error
