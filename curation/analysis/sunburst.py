"""Two rings: root verbs inside, the nouns that are their objects outside; one producer, or two side by side.

A wedge is as wide as its pairs are frequent among those that are shown; the hole says which part of all pairs that is. Colours
repeat where verbs are many, but every wedge bears its word, so that nothing is told by colour alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from captionlake.curation.analysis.rings import Wedge, colours, rings
from captionlake.lake.figures import render
from captionlake.lake.options import printable

if TYPE_CHECKING:
    from captionlake.curation.analysis.analysis import Analysis, Pair

MOST_PRODUCERS = 2
_PANEL, _FOOT = 6.4, 0.5  # inches: a side of the square that holds the rings, and the note below
_HOLE, _MIDDLE, _EDGE = 0.34, 0.645, 1.0  # radii
_SMALLEST, _LARGEST = 5.0, 11.0  # points of type; a wedge too narrow for the smallest bears no word
_LETTERS = (
    60  # more fit no wedge: at the smallest type its radius is 15 of its sizes long, and the thinnest letter a quarter
)
_POINTS = 72 * _PANEL / 2.04  # of a radius
_INK, _PAPER = "#1a1a1a", "#ffffff"


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """Two rings of one producer; ``lines`` stand in the hole below its name."""

    producer: str
    pairs: "Sequence[Pair]"
    lines: Sequence[str]


def draw_sunburst(analysis: "Analysis") -> dict[str, bytes]:
    """``sunburst.png`` and ``sunburst.svg`` by name; nothing where no pair is shown. SVG keeps its words as text.

    Of more than two producers the first two are drawn.
    """
    panels = []
    for producer in analysis.producers:
        if shown := analysis.shown(producer):
            total = analysis.answers["totals"].of(producer)[0]
            lines = hole_lines(total["captions"], total["sentences"], total["sentences_with_pair"], shown)
            panels.append(Panel(producer=producer, pairs=shown, lines=lines))
    return draw_panels(
        "sunburst", panels, share=analysis.config.share, whence=analysis.release, parser=analysis.counts.parser, extra="analysis"
    )  # fmt: skip


def hole_lines(captions: int, sentences: int, with_pair: int, shown: "Sequence[Pair]") -> list[str]:
    """What the hole says of a producer's captions."""
    return [
        f"{captions:,} captions",
        f"{with_pair:,} of {sentences:,}",
        "sentences have a pair",
        f"shown: {sum(pair.share for pair in shown):.0f} % of these",
    ]


def draw_panels(
    name: str, panels: Sequence[Panel], *, share: float, whence: str, parser: str, extra: str
) -> dict[str, bytes]:
    """``NAME.png`` and ``NAME.svg`` of the first two panels; nothing where there are none.

    ``share``: per cent from which pairs are shown; ``whence``: whose captions they are.
    """
    panels = panels[:MOST_PRODUCERS]
    if not panels:
        return {}
    whose = "its producer's" if len(panels) > 1 else "the"
    note = (
        f"Root verb (inside) and its direct object (outside) of each sentence: pairs that make {share:g} % or more of {whose} pairs.\n"
        f"{printable(whence)}, parsed by {printable(parser)}"
    )
    return render(name, lambda: _draw(panels, note), extra=extra, text_as_text=True)


def _draw(panels: Sequence[Panel], note: str) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_PANEL * len(panels), _PANEL + _FOOT), dpi=160)
    both = [rings(panel.pairs) for panel in panels]
    paint = colours([[wedge.word for wedge in verbs] for verbs, _ in both])
    height = _PANEL / (_PANEL + _FOOT)
    for place, (panel, (verbs, nouns)) in enumerate(zip(panels, both, strict=True)):
        axes = figure.add_axes((place / len(panels), 1 - height, 1 / len(panels), height), aspect="equal")
        axes.set_axis_off()
        axes.set(xlim=(-1.02, 1.02), ylim=(-1.02, 1.02))
        for wedge in verbs:
            _wedge(axes, wedge, (_HOLE, _MIDDLE), paint[wedge.verb])
        for number, wedge in enumerate(nouns):
            _wedge(axes, wedge, (_MIDDLE, _EDGE), _paler(paint[wedge.verb], 0.5 + 0.18 * (number % 2)))
        _hole(axes, panel)
    figure.text(0.5, 0.16 / (_PANEL + _FOOT), note, ha="center", va="bottom", fontsize=7.5, color=_INK)
    return figure


def _wedge(panel: Any, wedge: Wedge, radii: tuple[float, float], colour: Any) -> None:
    from matplotlib.patches import Wedge as Patch

    inner, outer = radii
    turn = (90 - wedge.end, 90 - wedge.start)
    panel.add_patch(Patch((0, 0), outer, *turn, width=outer - inner, facecolor=colour, edgecolor=_PAPER, linewidth=0.9))
    room = ((inner + 0.015) * _POINTS, (outer - 0.015) * _POINTS)
    size, word, middle = _fitted(printable(wedge.word), room, math.radians(wedge.end - wedge.start))
    if not size:
        return
    angle = math.radians(90 - (wedge.start + wedge.end) / 2)
    panel.text(
        middle / _POINTS * math.cos(angle),
        middle / _POINTS * math.sin(angle),
        word,
        fontsize=size,
        rotation=math.degrees(angle) + (0 if math.cos(angle) >= 0 else 180),
        rotation_mode="anchor",
        ha="center",
        va="center_baseline",
        color=_ink_on(colour),
    )


def _fitted(word: str, room: tuple[float, float], angle: float) -> tuple[float, str, float]:
    """Points of type at which a word fits a wedge along its radius, the word, cut where it is too long, and the radius of its middle.

    0 points where none fits. ``room`` is from which radius to which, in points; ``angle`` in radians. A word stands in the middle of
    its room, or at the outer end, where a narrow wedge is wider.
    """
    inner, outer = room
    size = _LARGEST
    if len(word) > _LETTERS:
        word = f"{word[: _LETTERS - 1]}…"
    em = _em(word)
    while size >= _SMALLEST:
        wide = size * em
        for middle in ((inner + outer) / 2, outer - wide / 2):
            narrowest = 2 * (middle - wide / 2) * math.tan(min(angle, 1.5) / 2)
            if wide <= outer - inner and narrowest >= 1.15 * size:
                return size, word, middle
        if wide > outer - inner and size <= 6 and len(word) > 4:
            word = f"{word.rstrip('…')[:-1]}…"
            em = _em(word)
        else:
            size -= 0.25
    return 0.0, word, 0.0


def _em(text: str) -> float:
    """The text's width, in sizes of its type."""
    from matplotlib.textpath import TextPath

    return float(TextPath((0, 0), text, size=100).get_extents().width) / 100 if text.strip() else 0.0


def _hole(axes: Any, panel: Panel) -> None:
    name = printable(panel.producer)
    room = 2 * _HOLE * _POINTS * 0.84
    name = name if len(name) <= 40 else f"{name[:39]}…"
    size = min(12.0, room / max(_em(name), 0.1) / 1.16)  # bold is wider
    axes.text(0, 0.115, name, fontsize=size, fontweight="bold", ha="center", va="center", color=_INK)
    for place, line in enumerate(panel.lines):
        axes.text(0, 0.03 - 0.062 * place, line, fontsize=8.5, ha="center", va="center", color=_INK)


def _paler(colour: str, by: float) -> tuple[float, float, float]:
    from matplotlib.colors import to_rgb

    red, green, blue = (part + (1 - part) * by for part in to_rgb(colour))
    return red, green, blue


def _ink_on(colour: Any) -> str:
    """Dark or white type, whichever stands out more (WCAG's relative luminance)."""
    from matplotlib.colors import to_rgb

    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour)]
    light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return _INK if (light + 0.05) / 0.06 >= 1.05 / (light + 0.05) else _PAPER
