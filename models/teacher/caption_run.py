"""What a run of captioning did, and the error with which one ends that could not finish."""

from dataclasses import dataclass, field

from captionlake.errors import CaptionlakeError
from captionlake.models.captions.captioner import Failures
from captionlake.models.teacher.outcome import GIVEN_UP


@dataclass(slots=True)
class CaptionRun(Failures):
    """Of ``rows`` given, ``wanted`` different captions were to be there: ``present`` were, ``captioned`` are new, ``failed``
    brought none (by reason, see ``Outcome``), ``waiting`` are with the Batch API, ``left`` were not asked for.

    ``recovered`` of those present came from a killed run's spool. ``attempts`` counts requests without a caption by reason,
    those that were repeated among them. ``cost_usd`` is of this run, None where no price is known; ``lost_usd`` what
    requests may have cost that brought no reply to count.
    """

    producer: str
    mode: str = "live"
    rows: int = 0
    wanted: int = 0
    present: int = 0
    recovered: int = 0
    captioned: int = 0
    waiting: int = 0
    left: int = 0
    requests: int = 0
    attempts: dict[str, int] = field(default_factory=dict)
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    lost_usd: float = 0.0
    in_flight: int = 0  # at most, at a time
    seconds: float = 0.0

    def fails_again(self, reason: str) -> bool:
        return reason in GIVEN_UP

    def attempt(self, reason: str) -> None:
        """Count a request without a caption."""
        self.attempts[reason] = self.attempts.get(reason, 0) + 1

    @property
    def costs(self) -> dict[str, float | None]:
        """What adds up over runs."""
        return {
            "requests": self.requests,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cost_usd": self.cost_usd,
        }

    @property
    def said(self) -> str:
        """The price in words."""
        return "at an unknown price" if self.cost_usd is None else f"{self.cost_usd:.4f} US dollars"


class CaptioningStopped(CaptionlakeError):
    """A run that ended before its time; what was paid for is committed, and ``run`` tells what it did."""

    def __init__(self, message: str, run: CaptionRun) -> None:
        super().__init__(message)
        self.run = run
