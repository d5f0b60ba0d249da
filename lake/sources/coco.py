"""COCO: ``captions_*.json``, ``instances_*.json`` and ``image_info_*.json`` of cocodataset.org, together or alone.

Fields used: ``images[].id, file_name, coco_url, flickr_url, license``; ``annotations[].image_id, caption, category_id``;
``categories[].id, name``; ``licenses[].id, name, url``. The further fields of an image go into ``meta``, with ``objects``: how
many annotations each category has in the picture (crowds count as one). Polygons are read over.

Ids belong to their file: two splits may use one id for two pictures, so annotations find their picture within the file. The
files of one split are joined by ``file_name``, which is the key: one row a picture, however many files name it. The pictures come
by their URLs (``coco_url``, else ``flickr_url``), or from the official zip or a folder (``--archive``), where a picture stands as
``file_name`` with or without the folder of its split. Annotations are CC BY 4.0; each picture has the Flickr licence that its
``license`` names and belongs to its owner.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from captionlake.errors import CaptionlakeError
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.sources.json_items import POLYGONS, json_items, refused, text_of
from captionlake.lake.sources.named_pictures import NamedPictures
from captionlake.lake.sources.picture_files import holds_pictures
from captionlake.lake.sources.source import Row, Source, as_json, clean, frames

ANNOTATION_LICENSE = "CC-BY-4.0"
_WANTED = "captions_*.json, instances_*.json or image_info_*.json"
_USED = {"id", "file_name", "coco_url", "flickr_url", "license", "author"}
_SPLIT = re.compile(r"[^/]+/[^/]+$")  # of a URL's end: train2017/000000000009.jpg

Id = str | int | float


@dataclass(slots=True)
class _Image:
    """One picture and what the files say of it; some 120,000 of these are in memory at once."""

    id: Id
    name: str
    url: str | None
    size: tuple[object, object]
    license: str | None
    author: str | None
    meta: dict[str, Any] | str
    texts: list[str] = field(default_factory=list)
    objects: dict[str, int] | None = None

    def same_as(self, other: "_Image") -> bool:
        """Whether two files mean the same picture by one name: all that both know agrees."""
        mine, theirs = (self.id, self.url, *self.size), (other.id, other.url, *other.size)
        return all(a is None or b is None or a == b for a, b in zip(mine, theirs, strict=True))


@dataclass(slots=True)
class _File:
    """What one annotation file holds."""

    path: Path
    listed: dict[Id, _Image] = field(default_factory=dict)
    licenses: dict[Id, dict[str, Any]] = field(default_factory=dict)
    categories: dict[Id, str] = field(default_factory=dict)
    texts: dict[Id, list[str]] = field(default_factory=dict)
    objects: dict[Id, dict[Id, int]] = field(default_factory=dict)
    bad: list[Row] = field(default_factory=list)
    n_images: int = 0

    def trouble(self, key: str, why: str, **more: object) -> None:
        """Note a row that cannot be used; file and row are in its key and its text."""
        # An id may hold half a surrogate pair, which no table takes.
        row = {"source_key": clean(key), "meta": "{}", "bad": clean(f"{self.path.name}: {why}")}
        self.bad.append(row | more)


def _read(config: IngestConfig) -> Iterator[pl.DataFrame]:
    return frames(_rows(config))


def _rows(config: IngestConfig) -> Iterator[Row]:
    files = [Path(name) for name in config.inputs if not holds_pictures(Path(name))]
    if not files:
        raise CaptionlakeError("the source coco needs its annotations: give captions_train2017.json or the like")
    pictures = NamedPictures([*config.archives, *(name for name in config.inputs if holds_pictures(Path(name)))])
    images: dict[str, _Image] = {}
    for path in files:
        file = _load(path)
        _join(file, images)
        yield from ({"subset": config.subset, **row} for row in file.bad)
    for name in list(images):
        yield _row(images.pop(name), pictures, config)
    yield from ({"subset": config.subset, **row} for row in pictures.troubles())


def _load(path: Path) -> _File:
    file = _File(path)
    seen: dict[str, int] = {"images": 0, "annotations": 0}
    for name, item in json_items(path, "images", "annotations", "licenses", "categories", drop=POLYGONS):
        if name in seen:
            seen[name] += 1
        if not isinstance(item, dict):
            file.trouble(
                f"{path.name}#{name}:{seen.get(name, 0)}", f"{name}, number {seen.get(name, 0)}: not an object"
            )
        elif name == "annotations":
            _annotation(file, item, seen[name])
        elif name == "images":
            _image(file, item, seen[name])
        elif isinstance(item.get("id"), Id):
            if name == "licenses":
                file.licenses[item["id"]] = item
            else:
                file.categories[item["id"]] = text_of(item.get("name")) or str(item["id"])
    if not file.n_images:
        why = "holds images in another form than COCO's" if seen["images"] else "has no images"
        raise refused(path, f"{why}: it is not a COCO annotation file", _WANTED)
    return file


def _image(file: _File, item: dict[str, Any], number: int) -> None:
    id, name = item.get("id"), item.get("file_name")
    name = text_of(name)
    url = text_of(item.get("coco_url")) or text_of(item.get("flickr_url"))
    if isinstance(id, Id) or name or url:
        file.n_images += 1
    known = file.listed.get(id) if isinstance(id, Id) else None
    if not isinstance(id, Id):
        file.trouble(
            name or f"{file.path.name}#images:{number}", f"images, number {number}: an image without an id", url=url
        )
    elif name is None:
        file.trouble(f"id:{id}", f"images, number {number}: no file_name", url=url)
    elif known is None:
        size = (item.get("width"), item.get("height"))
        meta = {key: value for key, value in item.items() if key not in _USED and value is not None}
        license = item.get("license") if isinstance(item.get("license"), Id) else None
        file.listed[id] = _Image(id, name, url, size, None, text_of(item.get("author")), meta | {"license": license})
    elif known.name != name:
        file.trouble(f"{name}#id:{id}", f"images, number {number}: id {id} is {known.name} already", url=url)


def _annotation(file: _File, item: dict[str, Any], number: int) -> None:
    id, text, category = item.get("image_id"), item.get("caption"), item.get("category_id")
    if not isinstance(id, Id):
        file.trouble(f"{file.path.name}#annotations:{number}", f"annotations, number {number}: no image_id")
    elif isinstance(text, dict | list):
        file.trouble(
            f"{file.path.name}#annotations:{number}", f"annotations, number {number}: the caption is not a text"
        )
    elif text is not None:
        cleaned = text_of(text)
        if cleaned:
            file.texts.setdefault(id, []).append(cleaned)
    elif isinstance(category, Id):
        counts = file.objects.setdefault(id, {})
        counts[category] = counts.get(category, 0) + 1


def _join(file: _File, images: dict[str, _Image]) -> None:
    """Add a file's pictures and texts to those of the files before it."""
    for id, image in file.listed.items():
        assert isinstance(image.meta, dict)
        license = file.licenses.get(image.meta.pop("license"), {})
        image.license = text_of(license.get("name"))
        meta = image.meta | {"coco_id": id, "license_url": license.get("url")}
        image.meta = as_json({key: value for key, value in meta.items() if value is not None})[:-1]
        known = images.setdefault(image.name, image)
        if known is not image and not known.same_as(image):
            why = f"{image.name} is another picture in this list than before: give each split a --collection of its own"
            file.trouble(f"{image.name}#{file.path.name}:{id}", why, url=image.url)
            file.texts.pop(id, None)
            file.objects.pop(id, None)
            continue
        known.url = known.url or image.url
        known.license = known.license or image.license
        known.texts += file.texts.pop(id, [])
        counts = file.objects.pop(id, None)
        if counts and known.objects is None:
            known.objects = {file.categories.get(category, str(category)): n for category, n in counts.items()}
    file.listed.clear()
    for id in {**file.texts, **file.objects}:
        file.trouble(f"{file.path.name}#id:{id}", f"annotations of image {id}, which is not among its images")


def _row(image: _Image, pictures: NamedPictures, config: IngestConfig) -> Row:
    meta = image.meta if isinstance(image.meta, str) else "{"
    if image.objects and '"objects": ' not in meta:  # a file that has a field of this name keeps its own
        meta += f"{', ' if len(meta) > 1 else ''}{as_json({'objects': image.objects})[1:-1]}"
    row: dict[str, object] = {
        "source_key": image.name,
        "subset": config.subset,
        "url": image.url,
        "license": image.license,
        "author": image.author,
        "captions": [{"text": text, "kind": "human", "license": ANNOTATION_LICENSE} for text in image.texts],
        "meta": meta + "}",
    }
    if pictures:
        split = _SPLIT.search(image.url or "")
        row |= pictures.row(image.name, *([split[0]] if split else []))
    elif image.url is None:
        row["bad"] = f"{image.name}: neither coco_url nor flickr_url: give the pictures with --archive"
    return row


COCO = Source(
    name="coco",
    collection="coco",
    title="COCO: Common Objects in Context",
    takes="captions_*.json and instances_*.json; pictures by URL, or --archive train2017.zip (or a folder)",
    homepage="https://cocodataset.org",
    license="each picture's own Flickr licence; annotations CC-BY-4.0",
    license_url="https://cocodataset.org/#termsofuse",
    redistribute="urls",
    citation="Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014",
    read=_read,
)
