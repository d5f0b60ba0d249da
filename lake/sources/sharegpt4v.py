"""ShareGPT4V's released captions, joined onto pictures that are in the lake; no pictures come from here.

Files, each a list of ``{"id", "image", "conversations": [{"from": "human", "value"}, {"from": "gpt", "value"}]}``:

- ``sharegpt4v_instruct_gpt4-vision_cap100k.json``: 102,025 captions by GPT4-Vision (kind ``teacher``)
- ``share-captioner_coco_lcs_sam_1246k_1107.json``: 1,246,901 captions by Share-Captioner (kind ``captioner``)

``image`` is a path whose beginning names the collection: ``coco/train2017/``, ``llava/llava_pretrain/images/``, ``sam/images/``,
``share_textvqa/images/``, ``wikiart/images/``, ``web-celebrity/images/``, ``web-landmark/images/``. The captions are CC BY-NC 4.0, and
under OpenAI's terms. The third released file, ``sharegpt4v_mix665k_….json``, holds conversations for training and is refused.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from captionlake.errors import CaptionlakeError
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.sources.conversations import CaptionsOnly, answer
from captionlake.lake.sources.json_items import json_batches, refused, text_of
from captionlake.lake.sources.source import Source
from captionlake.lake.sources.word_counts import word_counts

LICENSE = "CC-BY-NC-4.0"
_WANTED = "sharegpt4v_instruct_gpt4-vision_cap100k.json or share-captioner_coco_lcs_sam_1246k_1107.json"
_ROWS = 20_000
_PLACES = (
    ("coco/", "coco", None),
    ("llava/llava_pretrain/images/", "lcs", None),
    ("sam/images/", "sam", None),
    ("share_textvqa/images/", "textcaps", None),
    ("wikiart/images/", "wikiart", None),
    ("web-celebrity/images/", "web", "celebrity"),
    ("web-landmark/images/", "web", "landmark"),
)
_KEPT = ("lcs", "wikiart")  # keys of these are paths; of the others, file names

_COLUMNS: dict[str, type[pl.DataType]] = {
    "row_id": pl.Int64,  # over all files, from 0
    "origin": pl.String,  # the file's name
    "id": pl.String,
    "image": pl.String,  # the path as released; for a row without one, FILE#ROW
    "collection": pl.String,
    "subset": pl.String,
    "key": pl.String,  # the source_key that the picture would have in its own source
    "stem": pl.String,  # its file name without the suffix
    "text": pl.String,
    "kind": pl.String,
    "producer": pl.String,
    "bad": pl.String,  # why the row cannot be used, or null
}
RELEASED = pl.Schema(_COLUMNS)


def released(config: IngestConfig) -> Iterator[pl.DataFrame]:
    """The rows of the files as frames of ``RELEASED``, with ``chars`` and ``words`` of the texts."""
    if not config.inputs:
        raise CaptionlakeError(f"the source sharegpt4v needs a released file: give {_WANTED}")
    left = sys.maxsize if config.limit is None else config.limit
    for rows in _rows([Path(name) for name in config.inputs], min(left, _ROWS)):
        yield _frame(rows[:left])
        left -= len(rows)
        if left <= 0:
            break


def producer_of(path: Path) -> tuple[str, str]:
    """(kind, producer) of a released file, by its name."""
    name = path.name.lower()
    if "gpt4-vision" in name or "cap100k" in name:
        return "teacher", "gpt4-vision"
    if "share-captioner" in name:
        return "captioner", "share-captioner"
    raise CaptionlakeError(
        f"{path}: its name does not tell who wrote the captions: keep the released name, with gpt4-vision or share-captioner in it"
    )


def place_of(image: str) -> tuple[str, str | None, str] | None:
    """(collection, subset, key) of a released path; None where its beginning is none that is known.

    >>> place_of("coco/train2017/000000000009.jpg")
    ('coco', None, '000000000009.jpg')
    """
    for prefix, collection, subset in _PLACES:
        if image.startswith(prefix) and not image.endswith("/"):
            key = image[len(prefix) :] if collection in _KEPT else image.rpartition("/")[2]
            return collection, subset, key.rpartition(".")[0] or key if collection == "textcaps" else key
    return None


def _frame(rows: list[tuple[Any, ...]]) -> pl.DataFrame:
    columns = zip(RELEASED.items(), zip(*rows, strict=True), strict=True)
    frame = pl.DataFrame([pl.Series(name, values, type) for (name, type), values in columns])
    return frame.with_columns(pl.col("text").str.len_chars().alias("chars"), word_counts(frame["text"]).alias("words"))


def _rows(paths: list[Path], size: int) -> Iterator[list[tuple[Any, ...]]]:
    """At least ``size`` rows at a time, until the last."""
    rows: list[tuple[Any, ...]] = []
    number = 0
    for path in paths:
        said = _Said(path)
        for _, items in json_batches(path, ""):
            said.see(items)
            for item in items:
                rows.append((number, *said.row(item)))
                number += 1
            if len(rows) >= size:
                yield rows
                rows = []
        said.end()
    if rows:
        yield rows


class _Said:
    """Rows of one file as tuples in the order of ``RELEASED``, after the first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._name = path.name
        self._only = CaptionsOnly(path)
        self._rows = 0
        self._good = 0
        # A mix is told by its rows, before its name is asked who wrote it.
        self._by: tuple[str, str] | None = None
        try:
            self._by = producer_of(path)
        except CaptionlakeError as error:
            self._unnamed = error

    def see(self, items: list[Any]) -> None:
        """Note the rows to come. Raises where the file is known for one of conversations."""
        self._only.see(items)

    def row(self, item: Any) -> tuple[Any, ...]:
        """One row of the file."""
        self._rows += 1
        name = self._name
        text, why = answer(item)
        id = image = None
        if isinstance(item, dict):
            id, image = text_of(item.get("id")), text_of(item.get("image"))
        kind, producer = self._by or (None, None)
        shown = image or f"{name}#{self._rows}"
        place = place_of(image) if image else None
        if why is None and place is None:
            why = "no image" if image is None else f"no known collection: {image[:200]}"
        collection, subset, key = place or ("sharegpt4v", None, None)
        if why is not None:
            why = f"{name}, row {self._rows}: {why}"
            return name, id, shown, collection, subset, key, None, None, kind, producer, why
        self._good += 1
        stem = (key or "").rpartition("/")[2]
        stem = stem if collection == "textcaps" else stem.rpartition(".")[0] or stem
        return name, id, shown, collection, subset, key, stem, text, kind, producer, None

    def end(self) -> None:
        """Raises where the file is none of captions, or nobody knows whose."""
        self._only.end()
        if not self._good:
            raise refused(self._path, "has no captions of images (a list of id, image, conversations)", _WANTED)
        if self._by is None:
            raise self._unnamed


def _read(config: IngestConfig) -> Iterator[pl.DataFrame]:
    raise CaptionlakeError(
        "the source sharegpt4v has captions and no pictures: its rows are joined onto the lake, not listed as pictures"
    )


SHAREGPT4V = Source(
    name="sharegpt4v",
    collection="sharegpt4v",
    title="ShareGPT4V's released captions",
    takes="the released caption files (…gpt4-vision_cap100k.json, share-captioner_….json); captions for pictures in the lake",
    homepage="https://sharegpt4v.github.io",
    license="CC-BY-NC-4.0 (the captions; OpenAI's terms apply too)",
    license_url="https://huggingface.co/datasets/Lin-Chen/ShareGPT4V",
    redistribute="none",
    citation="Chen et al., ShareGPT4V: Improving Large Multi-Modal Models with Better Captions, ECCV 2024",
    read=_read,
)
