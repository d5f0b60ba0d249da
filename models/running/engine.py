"""What captioning needs of whatever computes: ready pictures in, texts out."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from PIL import Image


@dataclass(frozen=True, slots=True)
class Ready:
    """A picture as the engine takes it. Pictures of one ``shape`` can stand in one batch, without padding."""

    inputs: Any
    shape: Hashable


@dataclass(frozen=True, slots=True)
class Written:
    """``output_tokens`` counts the mark of the end; ``finish_reason`` is "stop" where the model set it, else "length"."""

    text: str
    input_tokens: int
    output_tokens: int
    finish_reason: str


class Engine(Protocol):
    """``batch_size`` may fall while it works, where memory is short."""

    batch_size: int

    def ready(self, picture: Image.Image) -> Ready:
        """For any thread."""

    def write(self, batch: Sequence[Ready]) -> list[Written]:
        """The text of each, in order. Raises a ``CaptionlakeError`` where there is no memory for even one."""
