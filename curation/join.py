"""The similarity join: all pairs of vectors with a cosine at or above a threshold, none missed.

Blocks of heads (``heads.py``) are multiplied, and what does not score below nought is looked at in full: first as a product in
float32, then as ``cosine.py`` decides. How many numbers a head has is chosen by trying, on a sample: more of them make each
product dearer and leave less to look at. A block with very many candidates (a thousand copies of one placeholder picture, or a low
threshold) is multiplied in full instead.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from captionlake.curation.cosine import Cosine, Indices, Numbers, Vectors
from captionlake.curation.heads import EXTRA, Heads, Rotation, operands
from captionlake.curation.mapped import Mapped, mapped
from captionlake.errors import CaptionlakeError, require
from captionlake.lake.engines import LOCAL, Engine

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

BLOCK = 2048  # vectors on a side of a block of a processor
_CUDA_BLOCK = 16_384
_COLUMNS = (16, 32, 48, 64, 96, 128, 256)  # of heads, k + 5; whole vectors take part where these are no less
_LOOKED_AT = 1e-6  # seconds to look at a candidate in full, about, on two cores
_COMPARED = 1e-9  # seconds to compare one score of a row that has a candidate
_DENSE = 32  # a block of which more than one in so many is a candidate is multiplied in full
_PENDING = 2**17  # candidates gathered before they are looked at
_GATHER = 2**23  # float32 numbers of candidates in memory

Pairs = tuple[Indices, Indices, Numbers]
Advance = Callable[[int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class JoinConfig:
    """``device`` is torch's name of one. ``block``: vectors a side (default: 2,048, on a GPU 16,384). ``columns`` of the heads
    (default: chosen by a sample). ``dtype`` of the heads: bfloat16 or float32 (default: the first where it is quick)."""

    device: str = "cpu"
    block: int | None = None
    columns: int | None = None
    dtype: str | None = None

    def side(self) -> int:
        """Vectors on a side of a block."""
        return self.block or (BLOCK if self.device == "cpu" else _CUDA_BLOCK)


def pair_blocks(
    vectors: Vectors,
    threshold: float,
    config: JoinConfig | None = None,
    *,
    fresh: int | None = None,
    group: Indices | None = None,
    advance: Advance | None = None,
    engine: Engine = LOCAL,
) -> Iterator[Pairs]:
    """Index pairs i < j with cosine >= threshold, and the cosine, in parts, each pair once.

    ``fresh``: only pairs of which one is among the first so many vectors, for the others are known. ``group`` (N,): no pairs of two
    vectors of one group, which is a number from 0 on; -1 is none. ``advance`` is told of vectors that have been compared with all others.
    On an ``engine``, a task is a block of vectors to be compared with all others; other processes map the file that ``vectors`` lie in.
    """
    loading = _Loading(vectors, None, threshold, config or JoinConfig(), group)
    yield from _run(loading, len(vectors) if fresh is None else min(fresh, len(vectors)), advance, engine)


def cross_blocks(
    left: Vectors, right: Vectors, threshold: float, config: JoinConfig | None = None, *, advance: Advance | None = None
) -> Iterator[Pairs]:
    """Index pairs (i of ``left``, j of ``right``) with cosine >= threshold, and the cosine, in parts, each pair once."""
    yield from _run(_Loading(left, right, threshold, config or JoinConfig(), None), len(left), advance, LOCAL)


def cross_pairs(left: Vectors, right: Vectors, threshold: float, config: JoinConfig | None = None) -> Pairs:
    """As :func:`cross_blocks`, all at once, in order of (i, j)."""
    empty = (np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0))
    i, j, cosine = joined([empty, *cross_blocks(left, right, threshold, config)])
    order = np.lexsort((j, i))
    return i[order], j[order], cosine[order]


def joined(parts: list[Pairs]) -> Pairs:
    """Parts one behind the other."""
    i, j, cosine = (np.concatenate(column) for column in zip(*parts, strict=True))
    return i, j, cosine


def _run(loading: "_Loading", count: int, advance: Advance | None, engine: Engine) -> Iterator[Pairs]:
    """The first ``count`` vectors with all others."""
    side = loading.config.side()
    blocks = [(start, min(start + side, count)) for start in range(0, count, side)]
    if not blocks or (loading.others is not None and not len(loading.others)):
        return
    with closing(engine.run(loading, _compared, blocks, gpu=loading.config.device != "cpu")) as found:
        for part in found:
            if isinstance(part, int):
                if advance:
                    advance(part)
            else:
                yield part


@dataclass(frozen=True, slots=True)
class _Loading:
    """What a join needs. Pickled, vectors that lie in a file are its path."""

    vectors: Vectors
    others: Vectors | None
    threshold: float
    config: JoinConfig
    group: Indices | None

    def __call__(self) -> "_Join":
        cosine = Cosine(self.vectors, self.others)
        return _Join(cosine, self.threshold, self.config, self.group, itself=self.others is None)

    def __reduce__(self) -> tuple[Any, ...]:
        return _loading, (mapped(self.vectors), self.others, self.threshold, self.config, self.group)


def _loading(vectors: "Vectors | Mapped", *told: Any) -> _Loading:
    return _Loading(vectors.open() if isinstance(vectors, Mapped) else vectors, *told)


def _compared(join: "_Join", block: tuple[int, int]) -> Iterator[Pairs | int]:
    """The pairs of a block in parts, and then how many vectors it has."""
    yield from join.pairs(*block)
    yield block[1] - block[0]


class _Join:
    def __init__(
        self, cosine: Cosine, threshold: float, config: JoinConfig, group: Indices | None, *, itself: bool
    ) -> None:
        if not -1 <= threshold <= 1:
            raise CaptionlakeError(f"threshold {threshold} is no cosine: give a number from -1 to 1")
        self._torch = require("torch", extra="embed")
        self._cosine = cosine
        self._threshold = threshold
        self._config = config
        self._group = group
        self._itself = itself
        self._pending: list[tuple[Indices, Indices]] = []
        self._n_pending = 0
        self._buffer: torch.Tensor | None = None
        self._heads = self._matrices()

    def pairs(self, start: int, end: int) -> Iterator[Pairs]:
        """Those of the vectors from ``start`` to ``end`` with the ones behind them, or with all others, in parts."""
        vectors, others, group, side = self._cosine.vectors, self._cosine.others, self._group, self._config.side()
        for other in range(start if self._itself else 0, len(others), side):
            if group is not None and _one_group(group, start, end, other, other + side):
                continue
            found = None
            if self._heads is not None:
                found = self._scored(self._heads[0][start:end], self._heads[1][other : other + side])
            if found is None:
                right = others[other : other + side]
                found = self._cosine.candidates(vectors[start:end], right, self._threshold)
            i, j = found[0] + start, found[1] + other
            if self._itself:
                once = i < j
                if group is not None:
                    once &= (group[i] != group[j]) | (group[i] < 0)
                i, j = i[once], j[once]
            if len(i):
                self._pending.append((i, j))
                self._n_pending += len(i)
            if self._n_pending >= _PENDING:
                yield from self._decided()
        yield from self._decided()

    def _scored(self, left: "torch.Tensor", right: "torch.Tensor") -> tuple[Indices, Indices] | None:
        """Rows and columns of a block that may be pairs; None where they are very many."""
        scores = self._product(left, right)
        best = scores.amax(1)
        if int(best.max()) < 0:
            return _NONE
        rows = (best >= 0).nonzero().squeeze(1)
        hits = (scores[rows] >= 0).nonzero()
        if len(hits) * _DENSE > scores.numel():
            return None
        return rows[hits[:, 0]].cpu().numpy(), hits[:, 1].cpu().numpy()

    def _product(self, left: "torch.Tensor", right: "torch.Tensor") -> "torch.Tensor":
        """The scores as integers of their size, which have their sign and are compared several times quicker."""
        if self._buffer is None or self._buffer.dtype != left.dtype or len(self._buffer) < len(left) * len(right):
            self._buffer = self._torch.empty(len(left) * len(right), dtype=left.dtype, device=left.device)
        scores = self._buffer[: len(left) * len(right)].view(len(left), len(right))
        self._torch.mm(left, right.T, out=scores)
        return scores.view(self._torch.int16 if left.dtype.itemsize == 2 else self._torch.int32)

    def _decided(self) -> Iterator[Pairs]:
        """The pairs among the candidates that wait."""
        if not self._pending:
            return
        i, j = (np.concatenate(column) for column in zip(*self._pending, strict=True))
        self._pending, self._n_pending = [], 0
        step = _PENDING
        for at in range(0, len(i), step):
            rows, others = self._close(i[at : at + step], j[at : at + step])
            similarity = self._cosine.of_pairs(rows, others, self._threshold)
            kept = similarity >= self._threshold
            if kept.any():
                yield rows[kept], others[kept], similarity[kept]

    def _close(self, i: Indices, j: Indices) -> tuple[Indices, Indices]:
        """The candidates whose product in float32 does not rule them out."""
        torch = self._torch
        lowest = self._cosine.lowest_product(self._threshold)
        vectors, others = self._cosine.vectors, self._cosine.others
        step = max(1, _GATHER // vectors.shape[1])
        kept = []
        for at in range(0, len(i), step):
            left = torch.from_numpy(vectors[i[at : at + step]])
            right = torch.from_numpy(others[j[at : at + step]])
            kept.append(((left * right).sum(1) >= lowest).numpy())
        close = np.concatenate(kept)
        return i[close], j[close]

    def _matrices(self) -> "tuple[torch.Tensor, torch.Tensor] | None":
        """What to multiply block by block; None where whole vectors are no dearer."""
        torch = self._torch
        vectors, others = self._cosine.vectors, self._cosine.others
        known = [self._config.columns] if self._config.columns else list(_COLUMNS)
        sizes = [columns for columns in known if EXTRA < columns < vectors.shape[1]]
        if not sizes:
            return None
        dtype = getattr(torch, self._config.dtype) if self._config.dtype else quick_dtype(self._config.device)
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False  # sums in float32, as heads.py has it
        rotation = Rotation.of(vectors, self._config.device)
        columns = sizes[0] if len(sizes) == 1 else self._best(sizes, rotation, dtype)
        if columns is None:
            return None
        return self._operands(vectors, others, rotation, columns, dtype)

    def _operands(
        self, vectors: Vectors, others: Vectors, rotation: Rotation, columns: int, dtype: "torch.dtype"
    ) -> "tuple[torch.Tensor, torch.Tensor]":
        heads = Heads(vectors, rotation, columns - EXTRA, dtype)
        other_heads = heads if self._itself else Heads(others, rotation, columns - EXTRA, dtype)
        return operands(heads, other_heads, self._threshold)

    def _best(self, sizes: list[int], rotation: Rotation, dtype: "torch.dtype") -> int | None:
        """The number of columns with which a sample's block takes least time, what it leaves to look at counted in; None: in full."""
        side = self._config.side()
        vectors, others = _spread(self._cosine.vectors, side), _spread(self._cosine.others, side)
        best, least = None, math.inf  # in full, a GPU would have to hold all vectors
        if self._config.device == "cpu":
            least = _seconds(lambda: self._cosine.candidates(vectors, others, self._threshold))
        for columns in sizes:
            left, right = self._operands(vectors, others, rotation, columns, dtype)
            scores = self._product(left, right)
            hits = int((scores >= 0).sum())
            if self._itself:
                hits -= min(hits, len(vectors))  # each with itself, which is rarer among all blocks
            looked = hits * _LOOKED_AT + min(len(vectors), hits) * len(others) * _COMPARED
            seconds = _seconds(lambda left=left, right=right: int(self._product(left, right).amax(1).max())) + looked  # type: ignore[misc]
            log.info("%d columns: %d of %d left, %.2f ms a block", columns, hits, scores.numel(), seconds * 1e3)
            if seconds < least:
                best, least = columns, seconds
            elif best is not None:
                break
        log.info("heads of %s columns, %s", best, dtype)
        return best


_NONE = (np.empty(0, np.intp), np.empty(0, np.intp))


def _one_group(group: Indices, start: int, end: int, other: int, other_end: int) -> bool:
    """Whether all vectors of two blocks are of one group."""
    first = group[start]
    return bool(first >= 0 and (group[start:end] == first).all() and (group[other:other_end] == first).all())


def quick_dtype(device: str) -> "torch.dtype":
    """bfloat16 where the device multiplies it faster than float32, else float32."""
    import torch

    on_gpu = device != "cpu"
    quick = torch.cuda.is_bf16_supported() if on_gpu else torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.bfloat16 if quick else torch.float32


def _spread(vectors: Vectors, count: int) -> Vectors:
    """So many vectors from all over."""
    return np.ascontiguousarray(vectors[:: max(1, len(vectors) // count)][:count])


def _seconds(what: Callable[[], object]) -> float:
    """The least of three runs, after one that does not count."""
    what()
    times = []
    for _ in range(3):
        started = time.perf_counter()
        what()
        times.append(time.perf_counter() - started)
    return min(times)
