"""``analyze``: a release's captions counted where they are not yet, and all figures of them, each with its query."""

from dataclasses import asdict, dataclass
from typing import Any

from captionlake.curation.analysis.analyze_config import AnalyzeConfig
from captionlake.curation.analysis.counting import WordCounts, count_words
from captionlake.curation.analysis.released import Answer, open_released
from captionlake.lake import Lake

QUERIES = ("totals", "composition", "lengths", "distinct_n", "growth", "pairs")


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """A root verb and its noun: in how many sentences, ``share`` per cent of the producer's sentences that have a pair."""

    verb: str
    noun: str
    sentences: int
    share: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Analysis:
    """What is known of the captions of a release by ``producers``; ``answers`` by the names in ``QUERIES``."""

    release: str
    producers: list[str]
    config: AnalyzeConfig
    counts: WordCounts
    answers: dict[str, Answer]

    def pairs(self, producer: str) -> list[Pair]:
        """All pairs of a producer, the frequent first."""
        return [
            Pair(verb=row["verb"], noun=row["noun"], sentences=row["sentences"], share=row["share"])
            for row in self.answers["pairs"].of(producer)
        ]

    def shown(self, producer: str) -> list[Pair]:
        """The pairs that tables and figures show: from the share that was asked for on, and not more than that many."""
        return [pair for pair in self.pairs(producer) if pair.share >= self.config.share][: self.config.most]

    def data(self) -> dict[str, Any]:
        """All of it as JSON has it. Of pairs, those that are shown."""
        shown = {producer: [asdict(pair) for pair in self.shown(producer)] for producer in self.producers}
        answers = [asdict(answer) for name, answer in self.answers.items() if name != "pairs"]
        queries = {"pairs": self.answers["pairs"].sql}
        head = {"release": self.release, "producers": self.producers, "share": self.config.share}
        return head | {"counts": asdict(self.counts), "pairs": shown, "figures": answers, "queries": queries}


def analyze(lake: Lake, label: str, config: AnalyzeConfig | None = None) -> Analysis:
    """Analyse the captions of the release ``label`` (NAME@VERSION).

    Captions that were counted before are not parsed again; without any that are new, spaCy is not even loaded.
    """
    config = config or AnalyzeConfig()
    with open_released(lake, label, config.producers) as released:
        counts = count_words(lake, released, config)
        answers = {name: released.answer(name, counts.parser) for name in QUERIES}
        return Analysis(
            release=released.label, producers=released.producers, config=config, counts=counts, answers=answers
        )
