"""Where the wedges of a sunburst lie and which colours they have; draws nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, zip_longest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from captionlake.curation.analysis.analysis import Pair

# Okabe and Ito's palette, without black and with a darker yellow: told apart with all kinds of colour vision.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#B8AC1E", "#7F7F7F")


@dataclass(frozen=True, slots=True)
class Wedge:
    """A word's part of a ring: angles in degrees, clockwise from the top. ``verb`` is the verb that it belongs to, or itself."""

    word: str
    verb: str
    start: float
    end: float


def rings(pairs: "Sequence[Pair]") -> tuple[list[Wedge], list[Wedge]]:
    """Verbs and nouns of these pairs: the frequent first, each noun beside its verb, 360 degrees together."""
    total = sum(pair.sentences for pair in pairs)
    of_verb: dict[str, list[Pair]] = {}
    for pair in pairs:
        of_verb.setdefault(pair.verb, []).append(pair)
    verbs, nouns, at = list[Wedge](), list[Wedge](), 0
    for verb in sorted(of_verb, key=lambda verb: (-sum(pair.sentences for pair in of_verb[verb]), verb)):
        first = at
        for pair in sorted(of_verb[verb], key=lambda pair: (-pair.sentences, pair.noun)):
            nouns.append(Wedge(pair.noun, verb, 360 * at / total, 360 * (at + pair.sentences) / total))
            at += pair.sentences
        verbs.append(Wedge(verb, verb, 360 * first / total, 360 * at / total))
    return verbs, nouns


def colours(panels: Sequence[Sequence[str]]) -> dict[str, str]:
    """A colour for each verb, the same in every panel and another than its neighbours' there; the first verbs have the first colours."""
    beside: dict[str, set[str]] = {}
    for verbs in panels:
        for place, verb in enumerate(verbs):
            beside.setdefault(verb, set()).update({verbs[place - 1], verbs[(place + 1) % len(verbs)]})
    found: dict[str, str] = {}
    turn = cycle(COLOURS)
    for verb in (verb for together in zip_longest(*panels) for verb in together if verb is not None):
        if verb not in found:
            taken = {found.get(other) for other in beside[verb]}
            found[verb] = next(colour for colour in turn if colour not in taken)
    return found
