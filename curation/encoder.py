"""What makes vectors of pictures and of texts: one interface, whichever library a model comes from.

Letters in shapes: B items of a batch, D numbers of a vector.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from captionlake.errors import CaptionlakeError
from captionlake.placement import Placement

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch


class Encoder(Protocol):
    """A model in evaluation mode.

    ``model_id`` names architecture, weights, preprocessing and precision: vectors of one id may be compared, and no
    others. ``batch_size`` is the number of pictures that suits the device; ``batches_at_once`` how many calls of
    ``vectors`` should run side by side, so that the device does not wait for the next batch: one on the processor.
    """

    model_id: str
    placement: Placement
    batch_size: int
    batches_at_once: int

    @property
    def prepare(self) -> "Callable[[bytes], torch.Tensor]":
        """Makes of a stored picture, upright, what ``vectors`` takes. Safe to call from several threads; can be pickled."""
        ...

    def vectors(self, pictures: "list[torch.Tensor]") -> "npt.NDArray[np.float32]":
        """Vectors of prepared pictures: (B, D) float32 of unit length.

        Raises ValueError where one is not finite or is zero. Safe to call from several threads.
        """
        ...

    def text_vectors(self, texts: list[str]) -> "npt.NDArray[np.float32]":
        """Vectors of texts in the space of the pictures': (B, D) float32 of unit length.

        Raises CaptionlakeError where the model has no text side, and ValueError as ``vectors`` does.
        """
        ...


def unit_rows(raw: "torch.Tensor") -> "npt.NDArray[np.float32]":
    """Rows of (B, D), brought to unit length in double precision. ValueError where one is not finite or is zero."""
    import numpy as np

    wide = raw.float().cpu().numpy().astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)  # (B, 1)
    if not (np.isfinite(lengths).all() and (lengths > 0).all()):
        raise ValueError("a vector is zero or not finite")
    unit: npt.NDArray[np.float32] = (wide / lengths).astype(np.float32)
    return unit


def no_text_side(model_id: str) -> CaptionlakeError:
    """The error of a model that knows pictures alone."""
    return CaptionlakeError(
        f"{model_id} makes no vectors of texts: search by a picture, or embed with a model of both, such as CLIP or SigLIP"
    )


def short(error: BaseException) -> str:
    """An error of a library as one line of at most 200 characters."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
