"""LLaVA's pre-training set of 558,128 pictures of LAION, CC3M and SBU, captioned by BLIP.

Files: ``blip_laion_cc_sbu_558k.json``, a list of ``{"id", "image", "conversations"}`` whose one answer is the caption;
``blip_laion_cc_sbu_558k_meta.json``, a list of ``{"id", "image", "blip_caption", "url"}``; and ``images.zip``, in which the pictures
stand as ``image`` says. Either JSON file will do, or both: then the first lists the rows and the second gives their URLs, by id.
Pictures come from ``--archive`` (a zip or a folder), else by URL. The key is the path in the zip, ``00453/004539375.jpg``. The
caption is the answer (kind ``captioner``), and ``blip_caption`` where it differs. The pictures belong to their owners, so
releases carry URLs; the authors ask to follow the terms of CC-3M and BLIP for the texts.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from captionlake.errors import CaptionlakeError
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.sources.conversations import CaptionsOnly, answer
from captionlake.lake.sources.json_items import json_items, refused, text_of
from captionlake.lake.sources.named_pictures import NamedPictures
from captionlake.lake.sources.picture_files import holds_pictures
from captionlake.lake.sources.source import Row, Source, as_json, frames

_WANTED = "blip_laion_cc_sbu_558k.json or blip_laion_cc_sbu_558k_meta.json"
_USED = {"id", "image", "url", "blip_caption", "conversations"}
_LOOK_AT = 100  # items that tell which of the two files it is


def _read(config: IngestConfig) -> Iterator[pl.DataFrame]:
    return frames(_rows(config))


def _rows(config: IngestConfig) -> Iterator[Row]:
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
    known = {id: more for path in metas for id, more in _meta(path)} if lists else {}
    for path in lists or metas:
        good, only = 0, CaptionsOnly(path)
        for number, (_, item) in enumerate(json_items(path, ""), 1):
            only.see(item)
            row = _row(path, number, item, known, config)
            if row.get("bad") is None:
                good += 1
                row |= pictures.row(str(row["source_key"])) if pictures else _by_url(path, number, row)
            yield row
        only.end()
        if not good:
            raise refused(path, "has no row with an image and a caption or URL", _WANTED)
    yield from ({"subset": config.subset, **row} for row in pictures.troubles())


def _holds(path: Path, field: str) -> bool:
    """Whether one of the first rows has the field."""
    for number, (_, item) in enumerate(json_items(path, "")):
        if isinstance(item, dict) and item.get(field) is not None:
            return True
        if number >= _LOOK_AT:
            break
    return False


def _meta(path: Path) -> Iterator[tuple[str, tuple[str | None, str | None]]]:
    found = False
    for _, item in json_items(path, ""):
        id = _key(item)[1] if isinstance(item, dict) else None
        if id is not None:
            found = True
            yield id, (text_of(item.get("url")), text_of(item.get("blip_caption")))
    if not found:
        raise refused(path, "has no rows with an id or image", _WANTED)


def _row(
    path: Path,
    number: int,
    item: Any,
    known: dict[str, tuple[str | None, str | None]],
    config: IngestConfig,
) -> dict[str, object]:
    where = f"{path.name}, row {number}"
    row: dict[str, object] = {"source_key": f"{path.name}#{number}", "subset": config.subset, "meta": "{}"}
    if not isinstance(item, dict):
        return row | {"bad": f"{where}: not an object"}
    image, id = _key(item)
    if image is None or id is None:
        return row | {"bad": f"{where}: no image"}
    url, blip = known.get(id) or (text_of(item.get("url")), text_of(item.get("blip_caption")))
    row["source_key"], row["url"] = image, url
    text, why = answer(item)
    if text is None and (blip is None or "conversations" in item):
        return row | {"bad": f"{where}: {why if 'conversations' in item else 'no caption'}"}
    texts = [each for each in dict.fromkeys((text, blip)) if each]
    row["captions"] = [{"text": each, "kind": "captioner", "license": None} for each in texts]
    if item.keys() - _USED:
        row["meta"] = as_json({"id": id, **{key: value for key, value in item.items() if key not in _USED}})
    else:
        row["meta"] = f'{{"id": {json.dumps(id)}}}'
    return row


def _by_url(path: Path, number: int, row: dict[str, object]) -> dict[str, object]:
    return {} if row["url"] else {"bad": f"{path.name}, row {number}: no URL for {row['source_key']}"}


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
