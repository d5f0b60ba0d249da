"""What a model that captions can do for a recipe, whether it is asked over the network or runs here; and the failures of a run of it."""

from dataclasses import dataclass, field
from typing import Protocol

import pyarrow as pa

from captionlake.lake import Lake
from captionlake.lake.engines import LOCAL, Engine
from captionlake.models.captions.pending import Asking

_FIRST = 20


@dataclass(slots=True, kw_only=True)
class Failures:
    """The pictures of a run that got no caption: how many by reason, the reason of each that would fail again, and what was said
    of the first twenty."""

    failed: dict[str, int] = field(default_factory=dict)
    given_up: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def fail(self, image_id: str, reason: str, detail: str) -> None:
        """Count one."""
        self.failed[reason] = self.failed.get(reason, 0) + 1
        if self.fails_again(reason):
            self.given_up[image_id] = reason
        if len(self.failures) < _FIRST:
            self.failures.append(f"{image_id}: {reason}: {detail}")

    def fails_again(self, reason: str) -> bool:
        """Whether another run would fare no better."""
        return True

    @property
    def n_failed(self) -> int:
        """All of them."""
        return sum(self.failed.values())


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

    def caption(self, lake: Lake, rows: pa.Table, *, redo: bool = False, engine: Engine = LOCAL) -> Done:
        """``redo``: new captions beside those that are there. ``engine``: where a checkpoint writes; an endpoint is asked from here.

        Raises where the run ends before its time; what came is kept.
        """
