"""TextCaps: ``TextCaps_0.1_train.json`` and ``_val.json``: captions that read the text in photographs of Open Images.

The file is ``{"data": [...]}`` with a row a caption, several of one picture, not always together: ``image_id, caption_str,
reference_strs`` (all captions of the picture), ``flickr_original_url, flickr_300k_url, image_classes, image_width, image_height,
set_name``. Here one row is one picture, with every caption once (kind ``human``), in the file's order; the whole file (110,000 captions of
27,000 pictures) is in memory. A second file, TextVQA's Rosetta OCR (``data[].image_id, ocr_tokens``), adds ``meta.ocr_tokens``.

Pictures come from ``--archive`` (``train_images/ID.jpg`` or ``ID.jpg`` in a zip or folder), else by URL: ``flickr_300k_url``, Open
Images' thumbnail of about 300,000 pixels, before ``flickr_original_url``, the photograph in full size, because captioners see no
more than about 200,000 pixels and the larger file is many times the bytes. A zip or folder alone is taken too (ShareGPT4V's
``share_textvqa.zip``): rows without captions. The key is ``image_id``, which is the file's name without its suffix. Captions are
CC BY 4.0; the photographs are CC BY 2.0 by their Flickr authors, as Open Images lists them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl

from captionlake.errors import CaptionlakeError
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.sources.json_items import json_batches, refused, text_of
from captionlake.lake.sources.named_pictures import NamedPictures
from captionlake.lake.sources.picture_files import holds_pictures
from captionlake.lake.sources.source import Row, Source, as_json, frames, no_cycles

CAPTION_LICENSE = "CC-BY-4.0"
_WANTED = "TextCaps_0.1_train.json, and TextVQA_Rosetta_OCR_v0.2_train.json if there is one"
_META = ("image_classes", "image_width", "image_height", "set_name")
_URLS = ("flickr_300k_url", "flickr_original_url")


@dataclass(slots=True)
class _Image:
    urls: dict[str, str] = field(default_factory=dict)
    texts: dict[str, None] = field(default_factory=dict)  # ordered, each once
    meta: dict[str, Any] = field(default_factory=dict)
    references: list[Any] | None = None  # of the row before
    whole: bool = False  # whether a further row with the same captions can add nothing


def _read(config: IngestConfig) -> Iterator[pl.DataFrame]:
    return frames(_rows(config))


def _rows(config: IngestConfig) -> Iterator[Row]:
    archives = [*config.archives, *(name for name in config.inputs if holds_pictures(Path(name)))]
    files = [Path(name) for name in config.inputs if not holds_pictures(Path(name))]
    pictures = NamedPictures(archives, by_stem=True)
    images: dict[str, _Image] = {}
    tokens: dict[str, list[Any]] = {}
    for path in files:
        with no_cycles():
            bad = _load(path, images, tokens)
        yield from ({"subset": config.subset, **row} for row in bad)
    if files and not images:
        raise CaptionlakeError(f"{files[0]} holds OCR alone: give also TextCaps_0.1_train.json")
    if not files and not archives:
        raise CaptionlakeError(f"the source textcaps needs its annotations or pictures: give {_WANTED}")
    if not files:
        for key, part in pictures.each():
            yield {"source_key": key, "subset": config.subset, "meta": "{}", **part}
    for key in list(images):
        yield _row(key, images.pop(key), tokens.pop(key, None), pictures, config)
    yield from ({"subset": config.subset, **row} for row in pictures.troubles())


def _load(path: Path, images: dict[str, _Image], tokens: dict[str, list[Any]]) -> list[Row]:
    """Gathers the rows of one file; returns those that cannot be used."""
    good = False
    bad: list[Row] = []
    items = chain.from_iterable(items for _, items in json_batches(path, "data", ""))
    for number, item in enumerate(items, 1):
        id = text_of(item.get("image_id")) if isinstance(item, dict) else None
        if id is None:
            why = "no image_id" if isinstance(item, dict) else "not an object"
            bad.append(_bad(path, number, why))
        elif "ocr_tokens" in item and "caption_str" not in item and "reference_strs" not in item:
            read = item["ocr_tokens"]
            good |= isinstance(read, list)
            if isinstance(read, list):
                tokens[id] = [text for each in read if (text := text_of(each))]
            else:
                bad.append(_bad(path, number, f"ocr_tokens of {id} is not a list"))
        elif "question" in item or not {"caption_str", "reference_strs", *_URLS} & item.keys():
            bad.append(_bad(path, number, "neither captions nor URLs, or a question"))
        else:
            good = True
            image = images.get(id)
            if image is None:
                image = images[id] = _Image()
            bad += [_bad(path, number, why) for why in _add(image, item)]
    if not good:
        raise refused(path, "has no TextCaps rows (data[] with image_id)", _WANTED)
    return bad


def _add(image: _Image, item: dict[str, Any]) -> list[str]:
    """Adds what one row says of its image; returns what is wrong with the row."""
    wrong = []
    references = item.get("reference_strs")
    said = item.get("caption_str")
    same = isinstance(references, list) and references == image.references and said in references
    if same and image.whole and "ocr_tokens" not in item:
        return []  # every row of an image has all its captions, and says the same of it
    if isinstance(references, str):
        references = [references]
    if not isinstance(references, list | None):
        wrong.append("reference_strs is not a list")
        references = None
    new = [] if references is None else references
    if new and new == image.references:  # every row of an image has all its captions
        new = []
    elif references and all(type(each) is str for each in references):
        image.references = references
    for each in [*new, said] if type(said) is not str or said not in image.texts else new:
        if isinstance(each, dict | list):
            wrong.append("a caption is not a text")
        elif text := text_of(each):
            image.texts.setdefault(text)
    for name in _URLS:
        if name not in image.urls and (url := text_of(item.get(name))):
            image.urls[name] = url
    for name in _META:
        if name not in image.meta and item.get(name) is not None:
            image.meta[name] = item[name]
    if isinstance(item.get("ocr_tokens"), list):
        image.meta.setdefault("ocr_tokens", [text for each in item["ocr_tokens"] if (text := text_of(each))])
    image.whole = bool(image.references) and len(image.urls) == len(_URLS) and image.meta.keys() >= set(_META)
    return wrong


def _bad(path: Path, number: int, why: str) -> Row:
    return {"source_key": f"{path.name}#{number}", "meta": "{}", "bad": f"{path.name}, data number {number}: {why}"}


def _row(key: str, image: _Image, tokens: list[Any] | None, pictures: NamedPictures, config: IngestConfig) -> Row:
    url = next((image.urls[name] for name in _URLS if name in image.urls), None)
    meta = image.meta | ({"ocr_tokens": tokens} if tokens is not None else {})
    row: dict[str, object] = {
        "source_key": key,
        "subset": config.subset,
        "url": url,
        "captions": [{"text": text, "kind": "human", "license": CAPTION_LICENSE} for text in image.texts],
        "meta": as_json(meta),
    }
    if pictures:
        return row | dict(pictures.row(f"{key}.jpg"))
    return row if url else row | {"bad": f"{key}: neither flickr_300k_url nor flickr_original_url"}


TEXTCAPS = Source(
    name="textcaps",
    collection="textcaps",
    title="TextCaps: image captioning with reading comprehension",
    takes="TextCaps_0.1_train.json (and Rosetta OCR); pictures by URL, or --archive train_val_images.zip; or share_textvqa.zip alone",
    homepage="https://textvqa.org/textcaps",
    license="photographs of Open Images, CC BY 2.0 as listed there; captions CC-BY-4.0",
    license_url="https://textvqa.org/textcaps/dataset",
    redistribute="urls",
    citation="Sidorov et al., TextCaps: a Dataset for Image Captioning with Reading Comprehension, ECCV 2020",
    read=_read,
)
