"""Lays the photographs out as a user finds them: a COCO annotation file, lists of URLs, a folder with metadata.

    build/demo/coco/captions_demo.json      COCO's form; the pictures lie on the site
    build/demo/web/SUBSET.csv               url, name and what is known of the picture; dead links among the landmarks
    build/demo/album/                       pictures, and metadata.jsonl
    build/demo/site/                        what the loopback server serves
    build/demo/planted.json                 what was planted, for tests: copies of which photograph, dead links, reasons

Run again with the same photographs, it writes the same bytes.
"""

import argparse
import csv
import hashlib
import io
import json
import os
import shutil
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import variants
from photographs import CACHE, FREE, HERE, LICENSE_URLS, Photograph, collect
from PIL import Image
from server import OPTED_OUT, PORT, base_url

BUILD = CACHE.parent
PARTS = ("coco", "web", "album", "site")
RECORD = "planted.json"
CUT_OFF = "scikit-image/rocket.jpg"  # what the truncated and the opted-out links would show
OWN_TEXTS, GCOMPRIS_TEXTS = "Apache-2.0", "GPL-3.0-or-later"  # licences of the captions
SHORT_NAMES = {"explore_farm_animals": "farm", "explore_world_animals": "wild", "explore_world_music": "music"}


class LayoutError(Exception):
    """The folder cannot be laid out; the message says what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Placed:
    """One picture in one collection: a photograph, or a planted copy of one (``kind`` says how it was changed)."""

    photograph: Photograph
    place: str
    kind: str | None
    data: bytes

    @property
    def collection(self) -> str:
        return self.place.partition("/")[0]

    @property
    def subset(self) -> str | None:
        return self.place.partition("/")[2] or None

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def suffix(self) -> str:
        return self.photograph.suffix if self.kind in (None, variants.EXACT) else ".jpg"

    @property
    def coco_id(self) -> int:
        """Like COCO's, up to six digits; from the picture's name, so that it stays when other pictures come."""
        name = f"{self.photograph.key} {self.kind}"
        return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % 999_983 + 1

    @property
    def stem(self) -> str:
        if self.collection == "coco":
            return f"{self.coco_id:012d}"
        parts = Path(self.photograph.key).with_suffix("").parts
        name = parts[-1] if self.photograph.activity not in SHORT_NAMES else f"{SHORT_NAMES[parts[1]]}_{parts[-1]}"
        if self.photograph.activity == "categorization":
            name = f"small_{name}"
        return name if self.kind is None else f"{name}-{self.kind}"

    @property
    def path(self) -> str:
        """Where the picture lies under the demo's folder."""
        root = "album" if self.collection == "album" else f"site/{self.collection}"
        return f"{root}/{self.stem}{self.suffix}"

    def url(self, port: int) -> str:
        return f"{base_url(port)}/{self.path.removeprefix('site/')}"

    @property
    def captions_license(self) -> str:
        return GCOMPRIS_TEXTS if self.photograph.activity.startswith("explore_") else OWN_TEXTS


def place(photographs: Iterable[Photograph]) -> list[Placed]:
    """Every photograph in its own collection, and the planted copies whose photograph is there."""
    by_key = {p.key: p for p in photographs}
    placed = [Placed(photograph=p, place=p.place, kind=None, data=p.data) for p in by_key.values()]
    for key, kind, where in _planted()["copies"]:
        photograph = by_key.get(key)
        if photograph is None:
            continue
        if where != "album" and photograph.license not in FREE:
            raise LayoutError(f"planted.toml: {key} asks for attribution, so its copies can only go to the album")
        data = variants.make(kind, photograph.data)
        placed.append(Placed(photograph=photograph, place=where, kind=kind, data=data))
    placed.sort(key=lambda one: (one.place, one.path))
    paths = [one.path for one in placed]
    doubled = {path for path in paths if paths.count(path) > 1}
    if doubled:
        raise LayoutError(f"two pictures under one name: {', '.join(sorted(doubled))}")
    return placed


def _planted() -> dict[str, Any]:
    return tomllib.loads((HERE / "planted.toml").read_text(encoding="utf-8"))


def coco_annotations(placed: list[Placed], port: int) -> dict[str, Any]:
    """The object of a COCO ``captions_*.json``."""
    names = sorted({one.photograph.license for one in placed})
    licenses = [{"id": i, "name": name, "url": LICENSE_URLS.get(name, "")} for i, name in enumerate(names, 1)]
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for one in placed:
        with Image.open(io.BytesIO(one.data)) as image:
            width, height = image.size
        images.append(
            {
                "license": names.index(one.photograph.license) + 1,
                "file_name": f"{one.stem}{one.suffix}",
                "coco_url": one.url(port),
                "height": height,
                "width": width,
                "date_captured": "",
                "flickr_url": one.photograph.source_url,
                "id": one.coco_id,
            }
        )
        for caption in one.photograph.captions:
            annotations.append({"image_id": one.coco_id, "id": len(annotations) + 1, "caption": caption})
    info = {
        "description": "Photographs of Debian and Python packages in the form of COCO's captions; not COCO",
        "url": "",
        "version": "1.0",
        "year": 2025,
        "contributor": "captionlake's demo",
        "date_created": "",
    }
    return {"info": info, "licenses": licenses, "images": images, "annotations": annotations}


def web_rows(placed: list[Placed], port: int) -> list[dict[str, str]]:
    """The rows of a list of URLs."""
    return [
        {
            "url": one.url(port),
            "name": one.photograph.title,
            "caption_license": one.captions_license,
            "license": one.photograph.license,
            "author": one.photograph.author,
            "source_url": one.photograph.source_url,
        }
        for one in placed
    ]


def album_rows(placed: list[Placed]) -> list[dict[str, str]]:
    """The rows of the album's ``metadata.jsonl``."""
    return [
        {
            "file_name": f"{one.stem}{one.suffix}",
            "caption": " ".join(one.photograph.captions),
            "caption_license": one.captions_license,
            "license": one.photograph.license,
            "author": one.photograph.author,
            "title": one.photograph.title,
            "activity": one.photograph.activity,
            "source_url": one.photograph.source_url,
            "changes": one.kind if one.kind and one.kind != variants.EXACT else "",
        }
        for one in placed
    ]


def dead_links(port: int) -> list[dict[str, str]]:
    """The planted links that give no picture: url, name, and the reason that the lake must record."""
    links = []
    for row in _planted()["dead_links"]:
        url = row.get("url") or f"{base_url(port)}/{row['path']}"
        links.append({"url": url, "name": row["name"], "reason": row["reason"], "why": row["why"]})
    return links


def same_photograph(placed: list[Placed]) -> list[tuple[Placed, Placed, str]]:
    """Pairs that show one photograph: planted copies by kind, and those that the package itself holds in two sizes."""
    pairs = []
    originals = [one for one in placed if one.kind is None]
    by_key = {one.photograph.key: one for one in originals}
    pairs += [(by_key[one.photograph.key], one, one.kind) for one in placed if one.kind]
    by_source: dict[str, Placed] = {}
    for one in sorted(originals, key=lambda one: -len(one.data)):
        url = one.photograph.source_url
        if one.photograph.activity in ("explore_monuments", "categorization"):
            if url in by_source:
                pairs.append((by_source[url], one, "in the package twice"))
            by_source.setdefault(url, one)
    return pairs


def lay_out(photographs: Iterable[Photograph], folder: Path = BUILD, port: int = PORT) -> dict[str, Any]:
    """Write everything under ``folder``, and return the record that ``planted.json`` holds.

    Each part replaces the one that was there as a whole. A folder laid out for another port is refused: the lake knows
    the pictures by their URLs.
    """
    record_file = folder / RECORD
    if record_file.exists():
        before = json.loads(record_file.read_text())["port"]
        if before != port:
            raise LayoutError(f"{folder} was laid out for port {before}, not {port}: use that port, or remove {folder}")
    placed = place(photographs)
    draft = folder / f"draft-{os.getpid()}"
    for left_over in folder.glob("draft-*"):
        shutil.rmtree(left_over)
    try:
        for part in PARTS:
            (draft / part).mkdir(parents=True)
        for one in placed:
            (draft / one.path).parent.mkdir(exist_ok=True)
            (draft / one.path).write_bytes(one.data)
        record = _write_lists(draft, placed, port)
        for part in PARTS:
            shutil.rmtree(folder / part, ignore_errors=True)
            (draft / part).rename(folder / part)
        (draft / RECORD).rename(record_file)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return record


def _write_lists(draft: Path, placed: list[Placed], port: int) -> dict[str, Any]:
    """The annotation files, the dead links' files and the record."""
    coco = coco_annotations([one for one in placed if one.collection == "coco"], port)
    _write_json(draft / "coco" / "captions_demo.json", coco)
    links = dead_links(port)
    for subset in sorted({one.subset for one in placed if one.subset}):
        rows = web_rows([one for one in placed if one.place == f"web/{subset}"], port)
        if subset == "landmark":
            rows += [{"url": link["url"], "name": link["name"]} for link in links]
        with (draft / "web" / f"{subset}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n", restval="")
            writer.writeheader()
            writer.writerows(rows)
    _write_dead(draft / "site", placed)
    with (draft / "album" / "metadata.jsonl").open("w", encoding="utf-8") as file:
        for row in album_rows([one for one in placed if one.collection == "album"]):
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    record = {
        "port": port,
        "photographs": sum(one.kind is None for one in placed),
        "pictures": [
            {
                "path": one.path,
                "sha256": one.sha256,
                "collection": one.collection,
                "subset": one.subset,
                "kind": one.kind,
            }
            for one in placed
        ],
        "duplicates": [
            {
                "kind": kind,
                "original": original.path,
                "original_sha256": original.sha256,
                "copy": copy.path,
                "copy_sha256": copy.sha256,
            }
            for original, copy, kind in same_photograph(placed)
        ],
        "dead_links": links,
    }
    _write_json(draft / RECORD, record)
    return record


def _write_dead(site: Path, placed: list[Placed]) -> None:
    """The files behind dead links: a page under a picture's name, a JPEG cut off, a picture that may not be used."""
    jpeg = next((one.data for one in placed if one.photograph.key == CUT_OFF and one.kind is None), None)
    if jpeg is None:
        raise LayoutError(
            f"{CUT_OFF} is not among the photographs, and the dead links need it: install scikit-image again"
        )
    (site / "web" / "page.jpg").write_text("<!doctype html><title>Gone</title><p>This picture has moved.</p>\n")
    (site / "web" / "truncated.jpg").write_bytes(jpeg[: len(jpeg) * 6 // 10])
    (site / OPTED_OUT.lstrip("/")).write_bytes(variants.make("resized", jpeg))


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=BUILD)
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--no-debian", action="store_true", help="only the photographs that pip brings")
    options = parser.parse_args()
    found = collect(debian=not options.no_debian)
    for remark in found.remarks:
        print(remark)
    record = lay_out(found.photographs, options.folder, options.port)
    print(f"{len(record['pictures'])} pictures of {record['photographs']} photographs in {options.folder}")


if __name__ == "__main__":
    main()
