"""``AnalyzeConfig``: whose captions are analysed, by which parser, and what of the result is shown."""

from dataclasses import dataclass

from captionlake.errors import CaptionlakeError


@dataclass(frozen=True, kw_only=True, slots=True)
class AnalyzeConfig:
    """``producers`` empty: all of the release, those with most captions first. ``parser``: a spaCy package (default: the
    English one that is installed). ``share``: per cent of a producer's pairs from which one is shown, of at most ``most``.
    ``processes``: default one a processor; with 1 none are started."""

    producers: tuple[str, ...] = ()
    parser: str | None = None
    share: float = 1.0
    most: int = 60
    processes: int | None = None

    def __post_init__(self) -> None:
        if len(set(self.producers)) != len(self.producers):
            raise CaptionlakeError("a producer is named twice: name each once")
        if not 0 < self.share <= 100:
            raise CaptionlakeError(f"a share of {self.share} %: give a number above 0, up to 100")
        if self.most < 1:
            raise CaptionlakeError(f"at most {self.most} pairs: give a number from 1")
        if self.processes is not None and self.processes < 1:
            raise CaptionlakeError(f"{self.processes} processes: give a number from 1")
