"""COCO: ``captions_*.json`` or ``instances_*.json`` of cocodataset.org.

Fields used: ``images[].id, file_name, coco_url, flickr_url, license, date_captured``, ``annotations[].image_id, caption`` and
``licenses[].id, name, url``. The pictures come by their URLs, or from the official zip or a folder (``--archive``), where a
picture stands as ``file_name`` with or without the folder of its split. Annotations are CC BY 4.0; each picture has the Flickr
licence that its ``license`` names and belongs to its owner.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ijson
import polars as pl

from captionlake.errors import CaptionlakeError
from captionlake.lake.archives import members
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.sources.source import Row, Source, as_json, caption, clean, frames

ANNOTATION_LICENSE = "CC-BY-4.0"
_USED = {"id", "file_name", "coco_url", "flickr_url", "license"}
_IDS = ("id", "image_id", "license")


def _read(config: IngestConfig) -> Iterator[pl.DataFrame]:
    return frames(_rows(config))


def _rows(config: IngestConfig) -> Iterator[Row]:
    if not config.inputs:
        raise CaptionlakeError("the source coco needs its annotations: give captions_train2017.json or the like")
    where = {
        Path(member.name).name: (archive, member.name)
        for archive in config.archives
        for member in members(Path(archive))
    }
    for path in map(Path, config.inputs):
        licenses = {item.get("id"): item for item in _items(path, "licenses")}
        texts: dict[Any, list[str]] = {}
        for annotation in _items(path, "annotations"):
            text = clean(annotation.get("caption"))
            if text:
                texts.setdefault(annotation.get("image_id"), []).append(text)
        listed = 0
        for image in _items(path, "images"):
            listed += 1
            yield _row(image, licenses, texts, where, config)
        if not listed:
            raise CaptionlakeError(
                f"{path} has no images: it is not a COCO annotation file (captions_*.json, instances_*.json)"
            )


def _row(
    image: dict[str, Any],
    licenses: dict[Any, dict[str, Any]],
    texts: dict[Any, list[str]],
    where: dict[str, tuple[str, str]],
    config: IngestConfig,
) -> Row:
    name = clean(image.get("file_name"))
    archive, member = where.get(Path(name).name, (None, None)) if name else (None, None)
    license = licenses.get(image.get("license"), {})
    url = clean(image.get("coco_url")) or clean(image.get("flickr_url"))
    bad = None
    if image.get("id") is None:
        bad = "an image without an id"
    elif config.archives and archive is None:
        archive, member = config.archives[0], name
    elif not config.archives and url is None:
        bad = "neither coco_url nor flickr_url"
    meta = {key: value for key, value in image.items() if key not in _USED}
    meta |= {"coco_id": image.get("id"), "license_url": license.get("url")}
    return {
        "source_key": name or f"id:{image.get('id')}",
        "subset": config.subset,
        "url": url,
        "archive": archive,
        "member": member,
        "license": clean(license.get("name")),
        "author": clean(image.get("author")),
        "captions": [c for text in texts.get(image.get("id"), []) for c in caption(text, "human", ANNOTATION_LICENSE)],
        "meta": as_json({k: v for k, v in meta.items() if v is not None}),
        "bad": bad,
    }


def _items(path: Path, name: str) -> Iterator[dict[str, Any]]:
    """The objects of one top-level list, streamed."""
    try:
        with path.open("rb") as file:
            for item in ijson.items(file, f"{name}.item", use_float=True):
                if not isinstance(item, dict) or any(isinstance(item.get(key), dict | list) for key in _IDS):
                    raise CaptionlakeError(
                        f"{path}: {name} holds what is not in COCO's format: give captions_*.json or instances_*.json"
                    )
                yield item
    except OSError as error:
        raise CaptionlakeError(f"{path} cannot be read ({error.strerror}): check its path and rights") from error
    except (ijson.JSONError, UnicodeDecodeError) as error:
        raise CaptionlakeError(f"{path}{_line(path)}: not valid JSON: download it again") from error


def _line(path: Path) -> str:
    """`` line N`` of the first JSON error, which the streaming reader does not tell; for files that fit in memory."""
    if path.stat().st_size > 2**29:
        return ""
    try:
        json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        return f" line {error.lineno}"
    except UnicodeDecodeError as error:
        return f" byte {error.start}"
    except RecursionError:
        return ""
    return ""


COCO = Source(
    name="coco",
    collection="coco",
    title="COCO: Common Objects in Context",
    takes="captions_*.json or instances_*.json; pictures by URL, or --archive train2017.zip (or a folder)",
    homepage="https://cocodataset.org",
    license="each picture's own Flickr licence; annotations CC-BY-4.0",
    license_url="https://cocodataset.org/#termsofuse",
    redistribute="urls",
    citation="Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014",
    read=_read,
)
