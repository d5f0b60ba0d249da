"""TextCaps 0.1: ``TextCaps_0.1_train.json`` of textvqa.org, and the Open Images photographs in train_val_images.zip.

``data[]`` has a row a caption, five rows an image, each with all five ``reference_strs``; ``image_path`` is
``train/ID.jpg``, while the zip's folder is ``train_images/``. The toy's texts, classes and addresses are made up.
"""

import hashlib
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

from .pictures import size

CAPTIONS = 5


def names(count: int) -> list[str]:
    """Image ids, 16 hexadecimal digits as Open Images has them."""
    return [hashlib.md5(f"textcaps {number}".encode()).hexdigest()[:16] for number in range(count)]


def lay_out(folder: Path, pictures: Sequence[bytes]) -> list[str]:
    """Write the JSON and the zip into ``folder``. Returns the image ids."""
    folder.mkdir(parents=True)
    ids = names(len(pictures))
    rows = [
        _row(key, number, nth, picture)
        for nth in range(CAPTIONS)
        for number, (key, picture) in enumerate(zip(ids, pictures, strict=True))
    ]
    head = {"dataset_type": "train", "dataset_name": "textcaps", "dataset_version": "0.1"}
    (folder / "TextCaps_0.1_train.json").write_text(json.dumps(head | {"data": rows}))
    with zipfile.ZipFile(folder / "train_val_images.zip", "w", zipfile.ZIP_STORED) as archive:
        for key, picture in zip(ids, pictures, strict=True):
            archive.writestr(f"train_images/{key}.jpg", picture)
    return ids


def texts(number: int) -> list[str]:
    """The five captions of image ``number``."""
    return [f'Sign {number} that says "STOP {nth}".' for nth in range(CAPTIONS)]


def _row(key: str, number: int, nth: int, picture: bytes) -> dict[str, object]:
    width, height = size(picture)
    return {
        "image_id": key,
        "image_classes": ["Sign", "Traffic sign"],
        "flickr_original_url": f"https://farm1.staticflickr.com/1/{number}_o.jpg",
        "flickr_300k_url": f"https://c1.staticflickr.com/1/{number}_z.jpg",
        "image_width": width,
        "image_height": height,
        "set_name": "train",
        "image_name": key,
        "image_path": f"train/{key}.jpg",
        "caption_id": nth * 100_000 + number,
        "caption_str": texts(number)[nth],
        "reference_strs": texts(number),
    }
