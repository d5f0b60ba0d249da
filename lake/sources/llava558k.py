"""LLaVA's pre-training set of 558,128 pictures of LAION, CC3M and SBU, captioned by BLIP.

Files: ``blip_laion_cc_sbu_558k.json``, a list of ``{"id", "image", "conversations"}`` whose one answer is the caption;
``blip_laion_cc_sbu_558k_meta.json``, a list of ``{"id", "image", "blip_caption", "url"}``; and ``images.zip``, in which the pictures
stand as ``image`` says. Either JSON file will do, or both: then the first lists the rows and the second gives their URLs, by id.
Pictures come from ``--archive`` (a zip or a folder), else by URL. The key is the path in the zip, ``00453/004539375.jpg``. The
caption is the answer (kind ``captioner``), and ``blip_caption`` where it differs. The pictures belong to their owners, so
releases carry URLs; the authors ask to follow the terms of CC-3M and BLIP for the texts.
"""

from collections.abc import Iterator
from itertools import chain
from json.encoder import encode_basestring_ascii
from pathlib import Path
from typing import Any

import polars as pl

from captionlake.errors import CaptionlakeError
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.sources.conversations import CaptionsOnly, answer
from captionlake.lake.sources.json_items import json_batches, json_items, refused, text_of
from captionlake.lake.sources.named_pictures import NamedPictures
from captionlake.lake.sources.picture_files import holds_pictures
from captionlake.lake.sources.source import Rows, Source, as_json, frames

_WANTED = "blip_laion_cc_sbu_558k.json or blip_laion_cc_sbu_558k_meta.json"
_USED = {"id", "image", "url", "blip_caption", "conversations"}
_LOOK_AT = 100  # items that tell which of the two files it is


_More = dict[str, tuple[str | None, str | None]]  # (URL, caption by BLIP) of an id


def _read(config: IngestConfig) -> Iterator[pl.DataFrame]:
    archives = [*config.archives, *(name for name in config.inputs if holds_pictures(Path(name)))]
    files = [Path(name) for name in config.inputs if not holds_pictures(Path(name))]
    if not files:
        raise CaptionlakeError(f"the source llava558k needs its annotations: give {_WANTED}")
    lists = [path for path in files if _holds(path, "conversations")]
    metas = [path for path in files if path not in lists]
    if lists and not metas and not archives and not _holds(lists[0], "url"):
        raise CaptionlakeError(
            f"{lists[0]} names no URLs: give also blip_laion_cc_sbu_558k_meta.json, or --archive images.zip"
        )
    pictures = NamedPictures(archives)
    known: _More = {}
    for path in metas if lists else []:
        _meta(path, known)
    rows = Rows(config.subset, "captioner")
    for path in lists or metas:
        good = number = 0
        only = CaptionsOnly(path)
        for _, items in json_batches(path, ""):
            only.see(items)
            for item in items:
                number += 1
                good += _add(rows, item, (path.name, number), known, pictures)
            if rows.full:
                yield from rows.take()
        only.end()
        if not good:
            raise refused(path, "has no row with an image and a caption or URL", _WANTED)
    yield from rows.take()
    yield from frames({"subset": config.subset, **row} for row in pictures.troubles())


def _holds(path: Path, field: str) -> bool:
    """Whether one of the first rows has the field."""
    for number, (_, item) in enumerate(json_items(path, "")):
        if isinstance(item, dict) and item.get(field) is not None:
            return True
        if number >= _LOOK_AT:
            break
    return False


def _meta(path: Path, known: _More) -> None:
    found = False
    for item in chain.from_iterable(items for _, items in json_batches(path, "")):
        id = _key(item)[1] if isinstance(item, dict) else None
        if id is not None:
            found = True
            known[id] = text_of(item.get("url")), text_of(item.get("blip_caption"))
    if not found:
        raise refused(path, "has no rows with an id or image", _WANTED)


def _add(rows: Rows, item: Any, where: tuple[str, int], known: _More, pictures: NamedPictures) -> bool:
    """Add the row of one item; ``where`` is the file's name and the row's number. True where it has a picture and a caption."""
    if not isinstance(item, dict):
        return _bad(rows, where, "not an object")
    image, id = _key(item)
    if image is None or id is None:
        return _bad(rows, where, "no image")
    url, blip = known.get(id) or (text_of(item.get("url")), text_of(item.get("blip_caption")))
    text, why = answer(item) if "conversations" in item else (None, "no caption")
    if text is None and (blip is None or "conversations" in item):
        return _bad(rows, where, why or "", image, url)
    more = {} if item.keys() <= _USED else {key: value for key, value in item.items() if key not in _USED}
    meta = as_json({"id": id, **more}) if more else f'{{"id": {encode_basestring_ascii(id)}}}'
    bad = None if url or pictures else f"{where[0]}, row {where[1]}: no URL for {image}"
    texts = [each for each in ((text,) if text == blip else (text, blip)) if each]
    rows.add(image, url, texts, meta, bad, pictures.row(image) if pictures else None)
    return True


def _bad(rows: Rows, where: tuple[str, int], why: str, image: str | None = None, url: str | None = None) -> bool:
    name, number = where
    rows.add(image or f"{name}#{number}", url, bad=f"{name}, row {number}: {why}")
    return False


def _key(item: dict[str, Any]) -> tuple[str | None, str | None]:
    """(image, id); the one gives the other: ``00453/004539375.jpg`` has the id ``004539375``."""
    image, id = text_of(item.get("image")), text_of(item.get("id"))
    if image is None and id is not None and len(id) == 9 and id.isdecimal():
        image = f"{id[:5]}/{id}.jpg"
    if image is not None and id is None:
        id = image.rpartition("/")[2].partition(".")[0] or None
    return image, id


LLAVA558K = Source(
    name="llava558k",
    collection="lcs",
    title="LLaVA pre-training: 558K pictures of LAION, CC3M and SBU with BLIP captions",
    takes="blip_laion_cc_sbu_558k.json and/or its _meta.json (URLs); pictures by URL, or --archive images.zip (or a folder)",
    homepage="https://huggingface.co/datasets/liuhaotian/LLaVA-Pretrain",
    license="the pictures belong to their owners; texts under the terms of CC-3M and BLIP",
    license_url="https://huggingface.co/datasets/liuhaotian/LLaVA-Pretrain#license",
    redistribute="urls",
    citation="Liu et al., Visual Instruction Tuning, NeurIPS 2023",
    read=_read,
)
