"""Where a model runs, and in which precision."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from captionlake.errors import CaptionlakeError, require

if TYPE_CHECKING:
    import torch

Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True, slots=True)
class Placement:
    """torch's name of a device, and the precision of weights and activations."""

    device: str
    precision: Precision

    @property
    def dtype(self) -> "torch.dtype":
        """torch's type of the numbers."""
        import torch

        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    @property
    def on_gpu(self) -> bool:
        """Whether batches are made on the processor and computed elsewhere."""
        return not self.device.startswith("cpu")

    def suffix(self) -> str:
        """What a model's id ends in: nothing for fp32."""
        return "" if self.precision == "fp32" else f":{self.precision}"


def place(device: str, precision: str, *, extra: str = "embed") -> Placement:
    """Make out ``auto``: the GPU where there is one, and bf16 where the device computes in it.

    ``extra`` brings torch. Raises where the device is none of torch's.
    """
    torch = require("torch", extra=extra)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise CaptionlakeError(f"device = {device!r} is not one of torch's: give cpu, cuda, cuda:1 or auto") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise CaptionlakeError(f"device = {device!r} is a GPU and torch finds none: give cpu or auto")
    if precision == "auto":
        precision = "bf16" if _computes_in_bf16(kind) else "fp32"
    return Placement(device, "bf16" if precision == "bf16" else "fp32")


def _computes_in_bf16(kind: str) -> bool:
    """Whether a device of this kind has instructions for bfloat16, as torch tells it."""
    import torch

    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if kind != "cpu" or not hasattr(torch.cpu, "get_capabilities"):  # older ones have it not
        return False
    has = torch.cpu.get_capabilities()
    return bool(has.get("avx512_bf16") or has.get("amx_bf16"))
