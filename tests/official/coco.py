"""COCO 2017 as cocodataset.org gives it out: ``annotations/`` out of annotations_trainval2017.zip, and train2017.zip.

``captions_train2017.json`` and ``instances_train2017.json`` list the same images with the same licences; captions of one image stand
apart, about five each. Members of the zip are stored, as ``train2017/000000000009.jpg``. Ids have gaps. The toy's texts, boxes and
addresses are made up.
"""

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

from .pictures import size

_INFO = {
    "description": "COCO 2017 Dataset (a toy of its form)",
    "url": "http://cocodataset.org",
    "version": "1.0",
    "year": 2017,
    "contributor": "COCO Consortium",
    "date_created": "2017/09/01",
}
LICENSES = [
    {
        "url": "http://creativecommons.org/licenses/by-nc-sa/2.0/",
        "id": 1,
        "name": "Attribution-NonCommercial-ShareAlike License",
    },
    {"url": "http://creativecommons.org/licenses/by/2.0/", "id": 4, "name": "Attribution License"},
    {"url": "http://flickr.com/commons/usage/", "id": 7, "name": "No known copyright restrictions"},
]
CAPTIONS = 5  # of each image


def names(count: int) -> list[str]:
    """The first ``count`` file names: ids with gaps, as in the original."""
    return [f"{9 + 16 * number:012d}.jpg" for number in range(count)]


def lay_out(folder: Path, pictures: Sequence[bytes]) -> list[str]:
    """Write the files of COCO into ``folder``. Returns the file names of the pictures, in the order given."""
    files = names(len(pictures))
    images = [_image(name, number, picture) for number, (name, picture) in enumerate(zip(files, pictures, strict=True))]
    (folder / "annotations").mkdir(parents=True)
    captions = [
        {
            "image_id": image["id"],
            "id": 37 + nth * len(images) + number,
            "caption": f"Caption {nth} of picture {number}.",
        }
        for nth in range(CAPTIONS)
        for number, image in enumerate(images)
    ]
    boxes = [_box(image, number) for number, image in enumerate(images)]
    shared = {"info": _INFO, "licenses": LICENSES, "images": images}
    categories = {"categories": [{"supercategory": "animal", "id": 17, "name": "cat"}]}
    documents = {"captions": {"annotations": captions}, "instances": {"annotations": boxes} | categories}
    for kind, rest in documents.items():
        (folder / "annotations" / f"{kind}_train2017.json").write_text(json.dumps(shared | rest))
    with zipfile.ZipFile(folder / "train2017.zip", "w", zipfile.ZIP_STORED) as archive:
        archive.mkdir("train2017")
        for name, picture in zip(files, pictures, strict=True):
            archive.writestr(f"train2017/{name}", picture)
    return files


def _image(name: str, number: int, picture: bytes) -> dict[str, object]:
    width, height = size(picture)
    return {
        "license": LICENSES[number % len(LICENSES)]["id"],
        "file_name": name,
        "coco_url": f"http://images.cocodataset.org/train2017/{name}",
        "height": height,
        "width": width,
        "date_captured": "2013-11-14 11:18:45",
        "flickr_url": f"http://farm3.staticflickr.com/2000/{number}_z.jpg",
        "id": int(name.removesuffix(".jpg")),
    }


def _box(image: dict[str, object], number: int) -> dict[str, object]:
    return {
        "segmentation": [[1.5, 1.5, 20.5, 1.5, 20.5, 20.5]],
        "area": 180.5,
        "iscrowd": 0,
        "image_id": image["id"],
        "bbox": [1.5, 1.5, 19.0, 19.0],
        "category_id": 17,
        "id": 900 + number,
    }
