"""The figure: every word that is shown stands in it, in a wedge of its own, and no word lies over another."""

import importlib
import io
import math
import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from captionlake.curation.analysis.analysis import Analysis, Pair
from captionlake.curation.analysis.analyze_config import AnalyzeConfig
from captionlake.curation.analysis.counting import WordCounts
from captionlake.curation.analysis.released import Answer
from captionlake.curation.analysis.rings import COLOURS, colours, rings
from captionlake.curation.analysis.sunburst import draw_sunburst

VERBS = ["show", "hold", "wear", "have", "capture", "add", "create", "feature", "depict", "stand"]
NOUNS = ["image", "man", "woman", "sense", "dog", "umbrella", "atmosphere", "representation", "hand", "light"]


def analysis_of(*producers: tuple[str, list[tuple[str, str, int]]], share: float = 1.0) -> Analysis:
    """An analysis whose pairs are these (verb, noun, sentences)."""
    rows = []
    for producer, pairs in producers:
        total = sum(n for _, _, n in pairs)
        rows += [
            [producer, verb, noun, n, 100 * n / total] for verb, noun, n in sorted(pairs, key=lambda pair: -pair[2])
        ]
    totals = [[producer, 1234, 5000, sum(n for _, _, n in pairs)] for producer, pairs in producers]
    answers = {
        "pairs": Answer(name="pairs", sql="", columns=["producer", "verb", "noun", "sentences", "share"], rows=rows),
        "totals": Answer(
            name="totals", sql="", columns=["producer", "captions", "sentences", "sentences_with_pair"], rows=totals
        ),
    }
    return Analysis(
        release="texts@1.0.0",
        producers=[producer for producer, _ in producers],
        config=AnalyzeConfig(share=share),
        counts=WordCounts(parser="made-up", captions=1234, present=0, counted=1234, seconds=0.0),
        answers=answers,
    )


def words_of(svg: bytes) -> list[str]:
    """The texts of an SVG, in order."""
    root = ElementTree.fromstring(svg)
    return ["".join(element.itertext()).strip() for element in root.iter("{http://www.w3.org/2000/svg}text")]


PAIRS = [(verb, noun, 60 - 5 * i - 3 * j) for i, verb in enumerate(VERBS) for j, noun in enumerate(NOUNS[: 6 - i // 2])]


def test_the_words_that_are_shown_stand_in_the_figure() -> None:
    analysis = analysis_of(("gpt4-vision", PAIRS), ("share-captioner", [("show", "cat", 3), ("have", "cat", 1)]))
    files = draw_sunburst(analysis)
    assert list(files) == ["sunburst.png", "sunburst.svg"]
    words = words_of(files["sunburst.svg"])
    for producer in analysis.producers:
        assert producer in words
        shown = analysis.shown(producer)
        assert {pair.share >= 1 for pair in shown} == {True}
        for word in {pair.verb for pair in shown} | {pair.noun for pair in shown}:
            assert word in words, word
    assert words.count("show") == 2
    assert any("1,234 captions" in word for word in words)
    assert any("texts@1.0.0, parsed by made-up" in word for word in words)
    assert len(analysis.shown("gpt4-vision")) < len(PAIRS)
    with Image.open(io.BytesIO(files["sunburst.png"])) as picture:
        assert picture.size == (2048, 1104)
        assert len(picture.convert("RGB").getcolors(1 << 24) or ()) > 16


def test_the_same_analysis_is_the_same_bytes() -> None:
    analysis = analysis_of(("gpt4-vision", PAIRS))
    assert draw_sunburst(analysis) == draw_sunburst(analysis)
    assert draw_sunburst(analysis_of(("gpt4-vision", []))) == {}


def test_no_word_lies_over_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Corners of each word as drawn, against the wedge that it belongs to: sixty equal pairs of long words leave least room."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    matplotlib: Any = importlib.import_module("matplotlib")
    held: list[Any] = []
    real = Figure.__init__

    def init(self: Any, *given: Any, **named: Any) -> None:
        held.append(self)
        real(self, *given, **named)

    monkeypatch.setattr(Figure, "__init__", init)
    pairs = [(f"verbalise{n:02d}", f"representation{n:02d}", 1) for n in range(60)]
    files = draw_sunburst(analysis_of(("p", pairs)))
    (figure,) = held
    figure.dpi = 160  # as it was for the PNG
    renderer: Any = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    panel = figure.axes[0]
    wedges = list(panel.patches)
    checked = 0
    for text in panel.texts:
        if not text.get_text().startswith(("verbalise", "representation")):
            continue
        x, y = text.get_position()
        radius, turn = math.hypot(x, y), math.degrees(math.atan2(y, x)) % 360
        (wedge,) = [
            w for w in wedges if w.r - w.width < radius < w.r and (turn - w.theta1) % 360 < (w.theta2 - w.theta1) % 360
        ]
        angle = text.get_rotation()
        text.set_rotation(0)
        with matplotlib.rc_context({"text.hinting": "none"}):
            box = text.get_window_extent(renderer).transformed(panel.transData.inverted())
        text.set_rotation(angle)
        long, high = box.width / 2, text.get_fontsize() / 72 / (6.4 / 2.04) * 0.4  # half of the letters' box
        assert wedge.r - wedge.width <= radius - long and radius + long <= wedge.r, text.get_text()
        assert high <= (radius - long) * math.tan(math.radians((wedge.theta2 - wedge.theta1) % 360) / 2)
        checked += 1
    assert checked == 120
    assert len(words_of(files["sunburst.svg"])) >= 120


def test_hostile_words_stay_words() -> None:
    hostile = [("</text><script>", "$x^2$ & \u202e", 2), ("猫\x1b[0m", "💥", 1), ("x" * 300, "y" * 300, 1)]
    files = draw_sunburst(analysis_of(("<b>$producer$\x07" + "z" * 100, hostile)))
    words = words_of(files["sunburst.svg"])
    assert "</text><script>" in words
    assert "$x^2$ & \\u202e" in words
    assert "猫\\x1b[0m" in words
    assert any(word.endswith("…") and word.startswith("xxxx") for word in words)


_PAIRS = st.lists(
    st.tuples(st.sampled_from(VERBS), st.sampled_from(NOUNS), st.integers(1, 50)),
    min_size=1,
    unique_by=lambda pair: pair[:2],
)


@given(_PAIRS)
def test_rings_are_whole_and_nouns_lie_over_their_verb(pairs: list[tuple[str, str, int]]) -> None:
    total = sum(n for _, _, n in pairs)
    verbs, nouns = rings([Pair(verb=v, noun=n, sentences=c, share=100 * c / total) for v, n, c in pairs])
    for ring in (verbs, nouns):
        assert ring[0].start == 0 and ring[-1].end == pytest.approx(360)
        assert all(one.end == pytest.approx(two.start) for one, two in pairwise(ring))
    sizes = {(noun.verb, noun.word): (noun.end - noun.start) * total / 360 for noun in nouns}
    assert {key: round(size) for key, size in sizes.items()} == {(v, n): c for v, n, c in pairs}
    of = {verb.word: verb for verb in verbs}
    assert all(of[noun.verb].start - 1e-9 <= noun.start and noun.end <= of[noun.verb].end + 1e-9 for noun in nouns)
    assert all(one.end - one.start > two.end - two.start - 1e-9 for one, two in pairwise(verbs))


@given(st.lists(st.lists(st.sampled_from("abcdefghijklmnopqrst"), min_size=1, unique=True), min_size=1, max_size=2))
def test_neighbours_differ_in_colour(panels: list[list[str]]) -> None:
    found = colours(panels)
    assert set(found) == {verb for verbs in panels for verb in verbs}
    assert found[panels[0][0]] == COLOURS[0]
    for verbs in panels:
        if len(verbs) > 1:
            assert all(found[verbs[i - 1]] != found[verbs[i]] for i in range(len(verbs)))
