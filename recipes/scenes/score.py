"""How much of what a caption should say it does say, attribute by attribute, and how much a guess would."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from scenes import ATTRIBUTES, claimed


@dataclass(frozen=True, slots=True)
class Score:
    """``right`` of ``total`` groups, by attribute; ``chance``: the share that is right where the commonest value is always said.

    The groups of two captions are compared in their order; a group that the caption lacks is wrong in all attributes.
    """

    total: int
    right: dict[str, int]
    chance: dict[str, float]
    extra: int  # groups beyond those that are there

    @property
    def accuracy(self) -> float:
        """Over all attributes."""
        return sum(self.right.values()) / (self.total * len(ATTRIBUTES))

    def lines(self) -> list[str]:
        """A table for people."""
        rows = [f"{'attribute':<12}{'accuracy':>9}{'chance':>9}"]
        rows += [f"{name:<12}{self.right[name] / self.total:>9.3f}{self.chance[name]:>9.3f}" for name in ATTRIBUTES]
        chance = sum(self.chance.values()) / len(ATTRIBUTES)
        rows.append(f"{'all':<12}{self.accuracy:>9.3f}{chance:>9.3f}")
        return [*rows, f"{self.total:,} groups, {self.extra:,} said that are not there"]


def score(pairs: Iterable[tuple[str, str]]) -> Score:
    """Of (true caption, caption)."""
    right, seen = Counter(dict.fromkeys(ATTRIBUTES, 0)), {name: Counter[str]() for name in ATTRIBUTES}
    total = extra = 0
    for truth, caption in pairs:
        there, said = claimed(truth), claimed(caption)
        total += len(there)
        extra += max(0, len(said) - len(there))
        for place, group in enumerate(there):
            for name in ATTRIBUTES:
                value = getattr(group, name)
                seen[name][value] += 1
                right[name] += place < len(said) and getattr(said[place], name) == value
    if not total:
        raise ValueError("no true caption speaks of a group")
    chance = {name: max(counts.values()) / total for name, counts in seen.items()}
    return Score(total, dict(right), chance, extra)
