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
from json.encoder import encode_basestring
from pathlib import Path
from typing import Any

import polars as pl

from captionlake.errors import CaptionlakeError
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.sources.coco_pictures import CocoFile, Id, Pictures, comparable
from captionlake.lake.sources.json_items import POLYGONS, json_batches, refused, text_of
from captionlake.lake.sources.named_pictures import NamedPictures
from captionlake.lake.sources.picture_files import holds_pictures
from captionlake.lake.sources.source import Row, Source, as_json, caption_lists, conform, frames, no_cycles

ANNOTATION_LICENSE = "CC-BY-4.0"
_WANTED = "captions_*.json, instances_*.json or image_info_*.json"
_USED = {"id", "file_name", "coco_url", "flickr_url", "license", "author"}
_OURS = {"coco_id", "license_url"}  # of ``meta``
_SPLIT = re.compile(r"[^/]+/[^/]+$")  # of a URL's end: train2017/000000000009.jpg


def _read(config: IngestConfig) -> Iterator[pl.DataFrame]:
    files = [Path(name) for name in config.inputs if not holds_pictures(Path(name))]
    if not files:
        raise CaptionlakeError("the source coco needs its annotations: give captions_train2017.json or the like")
    archived = NamedPictures([*config.archives, *(name for name in config.inputs if holds_pictures(Path(name)))])
    pictures = Pictures()
    for path in files:
        with no_cycles():
            file = _load(path)
            pictures.add(file)
        yield from frames({"subset": config.subset, **row} for row in file.bad)
        del file
    for frame, texts, ends, objects in pictures.slices():
        meta = (frame["meta"] + frame["license_url"]).to_list()
        for row, counts in objects.items():
            if '"objects": ' not in meta[row]:  # a file that has a field of this name keeps its own
                meta[row] += f"{', ' if len(meta[row]) > 1 else ''}{as_json({'objects': counts})[1:-1]}"
        captions = caption_lists(texts.to_arrow(), ends, "human", ANNOTATION_LICENSE)
        yield conform(
            frame.select(
                pl.col("name").alias("source_key"),
                pl.lit(config.subset, pl.String).alias("subset"),
                "url",
                "license",
                "author",
                pl.Series("captions", captions),
                pl.Series("meta", meta) + "}",
                *_found(frame, archived),
            )
        )
    yield from frames({"subset": config.subset, **row} for row in archived.troubles())


def _found(frame: pl.DataFrame, archived: NamedPictures) -> list[pl.Series | pl.Expr]:
    """The columns that tell where the pictures are, or why not."""
    if not archived:
        why = pl.col("name") + ": neither coco_url nor flickr_url: give the pictures with --archive"
        return [pl.when(pl.col("url").is_null()).then(why).alias("bad")]
    rows: list[Row] = []
    for name, url in frame.select("name", "url").iter_rows():
        split = _SPLIT.search(url or "")
        rows.append(archived.row(name, *([split[0]] if split else [])))
    types = {"archive": pl.String, "member": pl.String, "offset": pl.Int64, "n_bytes": pl.Int64}
    types |= {"bad": pl.String, "reason": pl.String}
    return [pl.Series(name, [row.get(name) for row in rows], type) for name, type in types.items()]


def _load(path: Path) -> CocoFile:
    file = CocoFile(path)
    seen: dict[str, int] = {"images": 0, "annotations": 0}
    n_images = 0
    for name, items in json_batches(path, "images", "annotations", "licenses", "categories", drop=POLYGONS):
        for number, item in enumerate(items, seen.get(name, 0) + 1):
            if not isinstance(item, dict):
                number = number if name in seen else 0
                file.trouble(f"{path.name}#{name}:{number}", f"{name}, number {number}: not an object")
            elif name == "annotations":
                _annotation(file, item, number)
            elif name == "images":
                n_images += _image(file, item, number)
            elif isinstance(item.get("id"), Id):
                if name == "licenses":
                    file.licenses[item["id"]] = item
                else:
                    file.categories[item["id"]] = text_of(item.get("name")) or str(item["id"])
        if name in seen:
            seen[name] += len(items)
        for pile in (file.images, file.texts, file.objects):
            pile.tidy()
    if not n_images:
        why = "holds images in another form than COCO's" if seen["images"] else "has no images"
        raise refused(path, f"{why}: it is not a COCO annotation file", _WANTED)
    return file


def _image(file: CocoFile, item: dict[str, Any], number: int) -> bool:
    """Note an image; False where it has nothing of one."""
    id, name = item.get("id"), text_of(item.get("file_name"))
    url = text_of(item.get("coco_url")) or text_of(item.get("flickr_url"))
    if not isinstance(id, Id):
        file.trouble(
            name or f"{file.path.name}#images:{number}", f"images, number {number}: an image without an id", url=url
        )
        return bool(name or url)
    if name is None:
        file.trouble(f"id:{id}", f"images, number {number}: no file_name", url=url)
        return True
    place = file.number(id)
    known = file.known(place)
    if known is None:
        file.places[place] = len(file.images)
        given, license = item.get("license"), None
        if isinstance(given, Id):
            license = file.license_numbers.setdefault(given, len(file.license_numbers))
        size = comparable(item.get("width")), comparable(item.get("height"))
        author = text_of(item.get("author"))
        file.images.rows.append((place, name, url, comparable(id), *size, license, author, _meta(item, id)))
    elif known != name:
        file.trouble(f"{name}#id:{id}", f"images, number {number}: id {id} is {known} already", url=url)
    return True


def _meta(item: dict[str, Any], id: Id) -> str:
    """The further fields and the id as JSON without the last brace."""
    parts = []
    for key, value in item.items():
        if key in _USED or key in _OURS or value is None:
            continue
        if type(value) is int:
            parts.append(f"{encode_basestring(key)}: {value}")
        elif type(value) is str and value.isascii():
            parts.append(f"{encode_basestring(key)}: {encode_basestring(value)}")
        else:
            parts.append(as_json({key: value})[1:-1])
    parts.append(f'"coco_id": {id}' if type(id) is int else as_json({"coco_id": id})[1:-1])
    text = f"{{{', '.join(parts)}"
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _annotation(file: CocoFile, item: dict[str, Any], number: int) -> None:
    id, text = item.get("image_id"), item.get("caption")
    if not isinstance(id, Id):
        file.trouble(f"{file.path.name}#annotations:{number}", f"annotations, number {number}: no image_id")
    elif isinstance(text, dict | list):
        file.trouble(
            f"{file.path.name}#annotations:{number}", f"annotations, number {number}: the caption is not a text"
        )
    elif text is not None:
        cleaned = text_of(text)
        if cleaned:
            file.texts.rows.append((file.number(id), cleaned))
    elif isinstance(category := item.get("category_id"), Id):
        kind = file.category_numbers.setdefault(category, len(file.category_numbers))
        file.objects.rows.append((file.number(id), kind))


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
