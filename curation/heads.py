"""Lower bounds of distances from a few numbers a vector, as products of small matrices.

For unit vectors ``|x - y|^2 = 2 - 2 cos(x, y)``, so a pair at or above a threshold t is one of distance ``sqrt(2 - 2 t)`` or less.
Distances do not change when all vectors are moved and rotated. Moved by their mean and rotated to their principal axes, most of a
distance lies in the first k coordinates, the *head* h; of the rest r its length alone is kept:

    |x - y|^2  =  |h_x - h_y|^2 + |r_x - r_y|^2  >=  |g_x - g_y|^2     with  g = (h, |r|),  k + 1 numbers

A product of matrices compares the heads of many pairs at once. With the columns ``c - |g|^2/2`` and 1 added, on the two sides in turn,
one product gives the *score* ``c + g_x.g_y - |g_x|^2/2 - |g_y|^2/2 = c - |g_x - g_y|^2/2``. With c as large as half the square of the
largest distance of a pair, whatever has a negative score is no pair. So the sign decides, which is one bit.

The products are made in bfloat16 where a processor has it, and no pair is missed for it, because each error is known or bounded and
added to c:

- rounding g moves it by a distance that is measured (``moved``, the largest of all rows), so distances shrink by at most twice that;
- ``|g|^2/2`` of the rounded g is split into two numbers of the narrow type, and what both leave out is measured (``unsaid``);
- products of two bfloat16 are exact in float32; adding up n of them in float32, in any order, errs by at most ``n 2^-23`` of the sum of
  their magnitudes, which is at most ``|g_x|^2 + |g_y|^2 + c``;
- rounding a score once more, to the type that is stored, does not change its sign.

``_SLACK`` covers what float64 leaves uncertain: mean, axes, and lengths of rests (the square of a rest may be off by some 1e-15).
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from captionlake.curation.cosine import Vectors

if TYPE_CHECKING:
    import torch

EXTRA = 5  # columns beyond k: the rest's length, and the halves of two squared lengths, in two numbers each
_SLACK = 1e-6
_SAMPLE = 8192  # rows that the axes are taken from
_NUMBERS = {"cpu": 2**21, "cuda": 2**27}  # in float64 at once, on a device of the kind


@dataclass(frozen=True, slots=True)
class Rotation:
    """``mean`` (D,) and orthonormal ``axes`` (D, D), those of the largest variance first, in float64."""

    mean: "torch.Tensor"
    axes: "torch.Tensor"

    @classmethod
    def of(cls, vectors: Vectors, device: str = "cpu") -> "Rotation":
        """The principal axes of a sample. Any rotation is right; this one makes the heads tell most."""
        import torch

        sample = vectors[:: max(1, len(vectors) // _SAMPLE)].astype(np.float64)
        mean = sample.mean(axis=0)
        _, axes = np.linalg.eigh((sample - mean).T @ (sample - mean))
        return cls(torch.from_numpy(mean).to(device), torch.from_numpy(np.ascontiguousarray(axes[:, ::-1])).to(device))

    def heads(self, part: "torch.Tensor", k: int) -> "torch.Tensor":
        """``g`` of rows in float64, brought to unit length: (n, D) -> (n, k + 1)."""
        import torch

        onto = torch.cat([self.axes[:, :k], self.mean[:, None]], 1)  # (D, k + 1)
        moved = (part @ onto) / part.square().sum(1, keepdim=True).sqrt() - self.mean @ onto
        head, along = moved[:, :k], moved[:, k]  # along: (u - mean).mean
        whole = 1 - 2 * along - self.mean @ self.mean  # |u - mean|^2
        rest = (whole - head.square().sum(1)).clamp(min=0).sqrt()
        return torch.cat([head, rest[:, None]], 1)


class Heads:
    """The heads of vectors (N, D), rounded: ``rows`` (N, k + 1) of a narrow type, ``half`` (N,) the halves of their squared lengths.

    They are made, and lie, on the device of the rotation.
    """

    def __init__(self, vectors: Vectors, rotation: Rotation, k: int, dtype: "torch.dtype") -> None:
        import torch

        device = rotation.mean.device
        k = min(k, vectors.shape[1])
        self.rows = torch.empty((len(vectors), k + 1), dtype=dtype, device=device)
        self.half = torch.empty(len(vectors), dtype=torch.float64, device=device)
        self.moved = 0.0
        step = max(1, _NUMBERS.get(device.type, _NUMBERS["cpu"]) // vectors.shape[1])
        for at in range(0, len(vectors), step):
            part = torch.from_numpy(np.array(vectors[at : at + step])).to(device).double()
            exact = rotation.heads(part, k)
            head = exact.to(dtype)
            wide = head.double()
            self.rows[at : at + len(part)] = head
            self.half[at : at + len(part)] = wide.square().sum(1) / 2
            self.moved = max(self.moved, float((wide - exact).square().sum(1).max()) ** 0.5)


def operands(left: Heads, right: Heads, threshold: float) -> "tuple[torch.Tensor, torch.Tensor]":
    """Matrices (N, K) and (M, K), K = k + 5: where the product of two rows is negative, they are no pair."""
    import torch

    columns = left.rows.shape[1] + EXTRA - 1
    reach = math.sqrt(max(0.0, 2 - 2 * threshold)) + left.moved + right.moved + _SLACK
    longest = float(left.half.max() + right.half.max())
    most = 2 * longest + reach * reach  # of the sum of magnitudes, c counted twice over
    dtype = left.rows.dtype
    unsaid = (
        2 * 2.0**-16 * most if dtype == torch.bfloat16 else 2 * 2.0**-46 * most
    )  # of two halves in two numbers each
    constant = reach * reach / 2 + unsaid + columns * 2.0**-22 * most
    one, other = _split(constant - left.half, dtype), _split(-right.half, dtype)
    ones = torch.ones((max(len(left.rows), len(right.rows)), 2), dtype=dtype, device=left.rows.device)
    return (
        torch.cat([left.rows, one, ones[: len(left.rows)]], 1),
        torch.cat([right.rows, ones[: len(right.rows)], other], 1),
    )


def _split(values: "torch.Tensor", dtype: "torch.dtype") -> "torch.Tensor":
    """Each value as a sum of two of a narrower type, (N, 2). Off by at most ``2^-16`` of it in bfloat16, of float32 ``2^-46``."""
    import torch

    high = values.to(dtype)
    low = (values - high.double()).to(dtype)
    return torch.stack([high, low], 1)
