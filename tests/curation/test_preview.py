"""The preview page: its bands, its marks, and that hostile text stays text."""

import io
import itertools
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionlake.curation.cosine import exact_cosine
from captionlake.curation.preview import write_preview
from captionlake.curation.preview_sample import DEPTH, band_edges, sample_pairs
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.thumbnails import thumbnail

AddPictures = Callable[..., list[str]]
Vectors = npt.NDArray[np.float32]
MODEL = "random-vectors"
HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>"


def clustered(count: int, d: int = 12, seed: int = 0) -> Vectors:
    random = np.random.default_rng(seed)
    rows = random.normal(size=d) * 3 + random.normal(size=(count, d))
    made: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return made


class Page(HTMLParser):
    """Tags with their attributes, text, and whether tags close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("img", "meta", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@given(st.floats(0.01, 1.0))
def test_edges_reach_from_a_tenth_below_the_threshold_to_one(threshold: float) -> None:
    edges = band_edges(threshold)
    assert edges == sorted(set(edges))
    assert edges[-1] == 1.0
    assert edges[0] == pytest.approx(threshold - DEPTH)
    assert any(abs(edge - threshold) < 1e-8 for edge in edges)


def test_the_bands_around_the_default_threshold() -> None:
    assert band_edges(0.95) == [0.85, 0.87, 0.89, 0.91, 0.93, 0.95, 0.97, 0.99, 1.0]


@pytest.fixture
def filled(
    lake: Lake, add_pictures: AddPictures, photographs: dict[str, bytes], add_vectors: Any
) -> tuple[Lake, list[str], Vectors]:
    ids = add_pictures(lake, photographs)
    vectors = clustered(len(ids))
    vectors[1] = vectors[0]
    add_vectors(lake, MODEL, ids, vectors)
    return lake, ids, vectors


def test_counts_and_pairs_of_each_band_are_those_of_all_pairs(filled: tuple[Lake, list[str], Vectors]) -> None:
    lake, ids, vectors = filled
    sample = sample_pairs(lake, MODEL, 0.9, per_band=3)
    pairs = {
        (min(a, b), max(a, b)): exact_cosine(x, y)
        for (a, x), (b, y) in itertools.combinations(zip(ids, vectors, strict=True), 2)
    }
    assert sum(band.count for band in sample.bands) > 5
    for band in sample.bands:
        inside = {pair: c for pair, c in pairs.items() if band.low <= c < band.high or (c == band.high == 1.0)}
        assert band.count == len(inside)
        assert len(band.pairs) == min(3, len(inside))
        assert all(abs(inside[one, other] - cosine) < 1e-9 for one, other, cosine in band.pairs)


def test_at_the_threshold_a_pair_never_stays_whole(filled: tuple[Lake, list[str], Vectors]) -> None:
    lake, _, _ = filled
    sample = sample_pairs(lake, MODEL, 0.93, per_band=100)
    above = [pair for band in sample.bands if band.low >= 0.93 for pair in band.pairs]
    below = {name for band in sample.bands if band.high <= 0.93 for pair in band.pairs for name in pair[:2]}
    assert above
    assert all(one in sample.dropped or other in sample.dropped for one, other, _ in above)
    assert not (below - {name for pair in above for name in pair[:2]}) & sample.dropped


def test_a_large_lake_is_sampled_and_each_pair_counted_once(filled: tuple[Lake, list[str], Vectors]) -> None:
    lake, ids, _ = filled
    sample = sample_pairs(lake, MODEL, 0.9, per_band=1000, comparisons=4 * len(ids))
    assert (sample.compared, sample.images) == (4, len(ids))
    pairs = [pair[:2] for band in sample.bands for pair in band.pairs]
    assert len(set(pairs)) == len(pairs) == sum(band.count for band in sample.bands)
    again = sample_pairs(lake, MODEL, 0.9, per_band=1000, comparisons=4 * len(ids))
    assert again == sample
    whole = sample_pairs(lake, MODEL, 0.9, per_band=1000)
    assert set(pairs) <= {pair[:2] for band in whole.bands for pair in band.pairs}


def test_the_page_shows_pairs_and_stores_nothing(filled: tuple[Lake, list[str], Vectors], tmp_path: Path) -> None:
    lake, _, _ = filled
    before = lake.snapshot()
    counts = write_preview(lake, MODEL, 0.95, tmp_path / "page.html")
    page = Page((tmp_path / "page.html").read_text())
    assert lake.snapshot() == before
    assert page.open == []
    assert len(page.all("article")) == counts.shown > 0
    assert len(page.all("figure")) == len(page.all("img")) == 2 * counts.shown
    assert all(str(img["src"]).startswith("data:image/jpeg;base64,") and img["alt"] for img in page.all("img"))
    assert page.all("html")[0]["lang"] == "en"
    links = [str(a["href"]).removeprefix("#") for a in page.all("a")]
    assert links == [section["id"] for section in page.all("section")]
    assert "✕ dropped" in page.text
    assert MODEL in page.text


def test_nothing_is_fetched_by_the_page(filled: tuple[Lake, list[str], Vectors], tmp_path: Path) -> None:
    lake, _, _ = filled
    write_preview(lake, MODEL, 0.95, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert not re.search(r"https?://|url\(|@import|<script|<link", text)


def test_hostile_text_stays_text(
    lake: Lake, add_pictures: AddPictures, photographs: dict[str, bytes], add_vectors: Any, tmp_path: Path
) -> None:
    hostile = {f"{HOSTILE}-{n}": data for n, data in enumerate(photographs.values())}
    ids = add_pictures(lake, hostile, source=HOSTILE, collection=HOSTILE)
    add_vectors(lake, HOSTILE, ids, np.repeat(clustered(1), len(ids), axis=0))
    write_preview(lake, HOSTILE, 0.95, tmp_path / "page.html")
    page = Page((tmp_path / "page.html").read_text())
    assert HOSTILE in page.text
    assert page.all("script") == []
    assert all("onerror" not in attributes for _, attributes in page.tags)
    assert all(str(img["src"]).startswith("data:") for img in page.all("img"))


def test_a_thumbnail_is_small_and_upright(photographs: dict[str, bytes]) -> None:
    import base64

    from PIL import Image

    picture = Image.new("RGB", (900, 300), "red")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", exif=exif)
    uri = thumbnail(buffer.getvalue())
    shown = Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))))
    assert shown.size == (96, 288)


def test_no_embedding_and_an_unwritable_file_are_one_line(filled: tuple[Lake, list[str], Vectors]) -> None:
    lake, _, _ = filled
    with pytest.raises(CaptionlakeError, match="captionlake embed"):
        write_preview(lake, "nobody", 0.95, Path("page.html"))
    with pytest.raises(CaptionlakeError, match="cannot be written"):
        write_preview(lake, MODEL, 0.95, Path("/nowhere/page.html"))
