"""What a model that captions can do for a recipe, whether it is asked over the network or runs here."""

from typing import Protocol

import pyarrow as pa

from captionlake.lake import Lake
from captionlake.models.captions.pending import Asking


class Expected(Protocol):
    """What captioning would take. A dataclass; ``said`` tells it in words."""

    @property
    def said(self) -> str: ...


class Done(Protocol):
    """What a run did. A dataclass.

    ``failed`` counts pictures without a caption by reason; ``given_up`` names those that would fail again (image_id: reason).
    ``waiting`` and ``left`` may get theirs in another run.
    """

    captioned: int
    failed: dict[str, int]
    given_up: dict[str, str]
    waiting: int
    left: int

    @property
    def costs(self) -> dict[str, float | None]:
        """What it took, by names whose values add up over runs; None where it is not known."""

    @property
    def said(self) -> str:
        """What it took, in words."""


class Captioner(Asking, Protocol):
    """Captions rows that ``rows_to_caption`` gives; what is there already is not made again."""

    def expect(self, lake: Lake, rows: pa.Table) -> Expected:
        """Makes nothing."""

    def caption(self, lake: Lake, rows: pa.Table, *, redo: bool = False) -> Done:
        """``redo``: new captions beside those that are there. Raises where the run ends before its time; what came is kept."""
