"""SBU Captions: a million Flickr pictures with the words of those who took them, in either of its two forms.

From cs.virginia.edu/~vicente/sbucaptions. Text: ``SBU_captioned_photo_dataset_urls.txt`` and
``SBU_captioned_photo_dataset_captions.txt``, line N of the one belonging to line N of the other; give both, in either
order. JSON: ``sbu-captions-all.json``, one object of the lists ``image_urls``, ``captions`` and ``user_ids``
(Flickr's, kept in ``meta``), read in step. Captions are of kind ``human``. The set has no licence of its own;
pictures and captions belong to their authors, so releases carry URLs. The key is the URL. A caption whose bytes are
not UTF-8 has U+FFFD in the place of those bytes, and ``meta.not_utf8`` says so.
"""

from collections.abc import Iterator
from itertools import islice, zip_longest
from pathlib import Path

import polars as pl

from captionlake.errors import CaptionlakeError
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.sources.json_items import json_items, text_of
from captionlake.lake.sources.looks_like import SBU_JSON, looks_like
from captionlake.lake.sources.source import FRAME_ROWS, Source, conform
from captionlake.lake.sources.tables import Texts, captions, cleaned, lines, meta, wrong_file

_GIVE = (
    "give SBU_captioned_photo_dataset_urls.txt and SBU_captioned_photo_dataset_captions.txt, or sbu-captions-all.json"
)
_END = object()


def _read(config: IngestConfig) -> Iterator[pl.DataFrame]:
    if not config.inputs:
        raise CaptionlakeError(f"the source sbu needs its list: {_GIVE}")
    paths = [Path(name) for name in config.inputs]
    texts = [path for path in paths if not _is_json(path)]
    if texts and len(texts) != 2:
        raise CaptionlakeError(f"{', '.join(map(str, texts))}: the text form of sbu is exactly two files: {_GIVE}")
    for path in paths:
        if path not in texts:
            yield from _json_rows(path, config)
    if texts:
        urls, captions_ = _told_apart(texts[0], texts[1])
        for frame in _in_step(urls, captions_):
            yield _rows(frame, urls.name, "line", config)


def _is_json(path: Path) -> bool:
    """By its suffix, or whatever its name by its first character: an unfinished download may be named ``….json.part``."""
    if path.suffix.lower() == ".json":
        return True
    try:
        with path.open("rb") as file:
            return file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{"
    except OSError:
        return False


def _told_apart(one: Path, other: Path) -> tuple[Path, Path]:
    """(URLs, captions), by what their first lines hold."""
    shares = []
    for path in (one, other):
        first = next(lines(path), None)
        if first is None:
            raise CaptionlakeError(f"{path} is empty: {_GIVE}")
        head = first["text"].head(1000)
        shares.append(head.str.contains(r"^\s*https?://\S+\s*$").sum() / len(head))
    if max(shares) < 0.5:
        raise wrong_file(one, f"neither this nor {other.name} is a list of URLs")
    if min(shares) >= 0.5:
        raise wrong_file(one, f"both this and {other.name} are lists of URLs, and one must be of captions")
    return (one, other) if shares[0] > shares[1] else (other, one)


def _in_step(urls: Path, captions_: Path) -> Iterator[pl.DataFrame]:
    """Frames of ``row, url, text, broken_url, not_utf8``. Raises at the end of the shorter file where the other goes on."""
    left, right = _Lines(urls), _Lines(captions_)
    while left.fill() and right.fill():
        height = min(left.frame.height, right.frame.height)
        a, b = left.take(height), right.take(height)
        yield a.select(
            pl.col("line").alias("row"),
            pl.col("text").alias("url"),
            b["text"],
            pl.col("broken").alias("broken_url"),
            pl.when(b["broken"]).then(pl.lit(True)).alias("not_utf8"),
        )
    if left.fill() or right.fill():
        raise CaptionlakeError(
            f"{urls} has {left.count():,} lines and {captions_} has {right.count():,}: "
            "they must be parallel; download both again"
        )


class _Lines:
    """The lines of a file that are not taken yet."""

    def __init__(self, path: Path) -> None:
        self.frame = pl.DataFrame()
        self._frames = lines(path)
        self._taken = 0

    def fill(self) -> bool:
        """Whether there are more lines."""
        while not self.frame.height:
            following = next(self._frames, None)
            if following is None:
                return False
            self.frame = following
        return True

    def take(self, height: int) -> pl.DataFrame:
        head, self.frame = self.frame.head(height), self.frame.slice(height)
        self._taken += height
        return head

    def count(self) -> int:
        """All the file's lines."""
        return self._taken + self.frame.height + sum(frame.height for frame in self._frames)


def _json_rows(path: Path, config: IngestConfig) -> Iterator[pl.DataFrame]:
    urls, texts, users = (_items(path, name) for name in ("image_urls", "captions", "user_ids"))
    first = 0
    pairs = zip_longest(urls, texts, fillvalue=_END)
    while batch := list(islice(pairs, FRAME_ROWS)):
        ends = [index for index, pair in enumerate(batch) if _END in (pair[0], pair[1])]
        if ends:
            has_urls, has_texts = (
                first + sum(pair[side] is not _END for pair in batch) + sum(pair[side] is not _END for pair in pairs)
                for side in (0, 1)
            )
            raise CaptionlakeError(
                f"{path}: {has_urls:,} image_urls and {has_texts:,} captions, which must be as many: download it again"
            )
        frame = pl.DataFrame(
            {
                "url": pl.Series([text_of(url) for url, _ in batch], dtype=pl.String),
                "text": pl.Series([text_of(text) for _, text in batch], dtype=pl.String),
                "user_id": pl.Series(_padded(islice(users, len(batch)), len(batch)), dtype=pl.String),
            }
        ).with_row_index("row", offset=first)
        yield _rows(frame, path.name, "item", config)
        first += len(batch)
    if not first:
        if looks_like(path) == SBU_JSON:
            raise CaptionlakeError(f"{path}: its lists image_urls and captions are empty: download it again")
        raise wrong_file(path, "no lists image_urls and captions in it, as sbu-captions-all.json has")


def _padded(values: Iterator[object], length: int) -> list[str | None]:
    found = [text_of(value) for value in values]
    return found + [None] * (length - len(found))


def _items(path: Path, name: str) -> Iterator[object]:
    """The items of one list at the top of the JSON object, streamed."""
    return (item for _, item in json_items(path, name))


def _rows(frame: pl.DataFrame, name: str, unit: str, config: IngestConfig) -> pl.DataFrame:
    frame = frame.with_columns(cleaned(pl.col("url")).alias("url"))
    where = pl.concat_str(pl.lit(f"{name} {unit} "), pl.col("row"))
    broken = pl.lit(False)
    if "broken_url" in frame.columns:
        broken = pl.col("broken_url") & pl.col("url").str.contains("\ufffd", literal=True)
    bad = pl.when(pl.col("url").is_null()).then(where + pl.lit(": no URL"))
    frame = frame.with_columns(bad.when(broken).then(where + pl.lit(": the URL is not UTF-8")).alias("bad"))
    url = pl.when(pl.col("bad").is_null()).then("url")
    rows = frame.select(
        pl.coalesce(url, pl.concat_str(pl.lit(f"{name}:"), pl.col("row"))).alias("source_key"),
        pl.lit(config.subset, dtype=pl.String).alias("subset"),
        url.alias("url"),
        "bad",
        captions(frame.height, Texts(frame["text"], "human")),
        meta(frame.height, (frame[name] for name in ("user_id", "not_utf8") if name in frame.columns)),
    )
    return conform(rows)


SBU = Source(
    name="sbu",
    collection="lcs",
    title="SBU Captioned Photo Dataset",
    takes="SBU_captioned_photo_dataset_urls.txt and SBU_captioned_photo_dataset_captions.txt together, or sbu-captions-all.json",
    homepage="https://www.cs.virginia.edu/~vicente/sbucaptions/",
    license="none stated; pictures and captions belong to their authors",
    license_url=None,
    redistribute="urls",
    citation="Ordonez, Kulkarni and Berg, Im2Text: Describing Images Using 1 Million Captioned Photographs, NIPS 2011",
    read=_read,
)
