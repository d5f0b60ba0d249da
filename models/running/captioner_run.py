"""What captioning by a checkpoint would take, and what a run of it did."""

from dataclasses import dataclass

from captionlake.models.captions.captioner import Failures


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionerEstimate:
    """``pending`` of ``wanted`` captions are missing."""

    producer: str
    rows: int
    wanted: int
    pending: int
    question: str
    precision: str
    device: str

    @property
    def said(self) -> str:
        """The same in words."""
        return (
            f"{self.pending:,} of {self.wanted:,} captions by {self.producer} are missing: to be written here, "
            f"on {self.device} in {self.precision}"
        )


@dataclass(slots=True)
class CaptionerRun(Failures):
    """Of ``rows`` given, ``wanted`` different captions were to be there: ``present`` were, ``captioned`` are new, ``failed`` brought
    none (by reason), ``left`` are still to be written.

    ``seconds`` is the whole, ``writing_seconds`` without looking and loading; the rates are over it. ``batch_size`` is the
    smallest that memory asked for.
    """

    producer: str
    revision: str
    device: str
    precision: str
    engine: str
    workers: int
    rows: int = 0
    wanted: int = 0
    present: int = 0
    captioned: int = 0
    left: int = 0
    waiting: int = 0
    batch_size: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cut_off: int = 0  # captions that ended at the most tokens
    seconds: float = 0.0
    writing_seconds: float = 0.0
    images_per_second: float = 0.0
    tokens_per_second: float = 0.0

    @property
    def costs(self) -> dict[str, float | None]:
        """What adds up over runs."""
        return {
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "writing_seconds": self.writing_seconds,
        }

    @property
    def said(self) -> str:
        """How long it took, and how fast it was."""
        return (
            f"{self.writing_seconds:,.1f} s of writing on {self.device} in {self.precision}, {self.images_per_second:,.2f} images/s, "
            f"{self.tokens_per_second:,.0f} tokens/s"
        )
