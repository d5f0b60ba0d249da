"""The plot and the contact sheet: drawn from facts, the same each time, whatever a caption holds."""

import io
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from captionlake.cards.contact_sheet import CONTACT_SHEET, contact_sheet
from captionlake.cards.facts import Facts
from captionlake.cards.figures import caption_lengths
from captionlake.lake import Lake

from .texts import HOSTILE


def _open(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png)).convert("RGB")


def test_the_plot_has_a_panel_for_each_kind_and_producer(plain_facts: Facts) -> None:
    files = caption_lengths(plain_facts)
    png = np.asarray(_open(files["figures/caption_lengths.png"]))
    for colour in ("0072B2", "D55E00", "009E73"):
        assert (png == list(bytes.fromhex(colour))).all(axis=2).sum() > 500, f"no bars in {colour}"
    ElementTree.fromstring(files["figures/caption_lengths.svg"])


def test_the_plot_is_the_same_each_time(plain_facts: Facts) -> None:
    assert caption_lengths(plain_facts) == caption_lengths(plain_facts)


@pytest.mark.parametrize("text", [HOSTILE[7], HOSTILE[10], "$\\frac{"])
def test_the_plot_takes_any_producer(plain_facts: Facts, text: str) -> None:
    def named(name: str) -> list[list[object]]:
        fact = plain_facts[name]
        at = fact.columns.index("producer")
        return [[*row[:at], None if row[at] is None else text, *row[at + 1 :]] for row in fact.rows]

    names = ("caption_lengths", "caption_length_histogram")
    facts = plain_facts.facts | {name: replace(plain_facts[name], rows=named(name)) for name in names}
    assert set(caption_lengths(Facts("small", "1.0.0", facts))) == {
        "figures/caption_lengths.png",
        "figures/caption_lengths.svg",
    }


def test_the_sheet_shows_the_pictures_themselves(plain_lake: Path, plain_facts: Facts) -> None:
    with Lake.open(plain_lake) as lake:
        sheet = np.asarray(_open(contact_sheet(lake, plain_facts)[CONTACT_SHEET]), dtype=int)
        rows = plain_facts["contact_sheet"].records
        first = _open(lake.picture(rows[0]["image_id"]))
    first.thumbnail((300, 225), Image.Resampling.LANCZOS)
    left, top = 18 + (300 - first.width) // 2, 18 + (225 - first.height) // 2
    shown = sheet[top : top + first.height, left : left + first.width]
    assert (shown == np.asarray(first, dtype=int)).all()


@pytest.mark.parametrize("text", [*HOSTILE, "", " ", "\u0301" * 50, "﷽" * 80, "한국어 日本語 ไทย हिन्दी 🏴‍☠️"])
def test_the_sheet_takes_any_text(plain_lake: Path, plain_facts: Facts, text: str) -> None:
    fact = plain_facts["contact_sheet"]
    texts = ("collection", "author", "licence", "caption")
    rows = [
        [text if column in texts else value for column, value in zip(fact.columns, row, strict=True)]
        for row in fact.rows[:2]
    ]
    with Lake.open(plain_lake) as lake:
        files = contact_sheet(lake, Facts("small", "1.0.0", {"contact_sheet": replace(fact, rows=rows)}))
    assert _open(files[CONTACT_SHEET]).size[0] == 2 * 318 + 18
