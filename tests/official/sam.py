"""SA-1B as its download page gives it out: a tab-separated list of links, ``file_name<TAB>cdn_link``, and the tars it links to.

A tar holds ``sa_N.jpg`` and ``sa_N.json`` side by side, in no order of N. The JSON has ``image`` (id, width, height, file name) and
``annotations`` with masks as COCO's compressed run lengths, here made by pycocotools of toy rectangles. Official tars hold 11,186
pictures each; the toy's hold as many as it is told.
"""

import io
import json
import random
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pycocotools import mask

from .pictures import size

LINKS = "sa1b_links.txt"


def lay_out(
    folder: Path, pictures: Sequence[bytes], *, tars: int, listed: int = 1000, link: str = "https://cdn.invalid"
) -> list[list[str]]:
    """Write ``tars`` archives and a list of ``listed`` links into ``folder``. Returns the names of the pictures, a list a tar."""
    folder.mkdir(parents=True)
    lines = ["file_name\tcdn_link", *(f"{tar_name(n)}\t{link}/{tar_name(n)}?token=expired" for n in range(listed))]
    (folder / LINKS).write_text("\n".join(lines) + "\n")
    share = -(-len(pictures) // tars)
    held = []
    for number in range(tars):
        part = list(enumerate(pictures, 1))[number * share : (number + 1) * share]
        random.Random(number).shuffle(part)
        held.append([f"sa_{n}.jpg" for n, _ in part])
        with tarfile.open(folder / tar_name(number), "w", format=tarfile.USTAR_FORMAT) as archive:
            for n, picture in part:
                _add(archive, f"./sa_{n}.jpg", picture)
                _add(archive, f"./sa_{n}.json", json.dumps(annotation(n, picture)).encode())
    return held


def tar_name(number: int) -> str:
    """``sa_000007.tar``."""
    return f"sa_{number:06d}.tar"


def annotation(number: int, picture: bytes) -> dict[str, object]:
    """The JSON beside a picture: between one and three masks, one smaller than the other."""
    width, height = size(picture)
    masks = []
    for nth in range(1 + number % 3):
        bits = np.zeros((height, width), np.uint8, order="F")
        bits[: height // (nth + 2), : width // (nth + 2)] = 1
        runs = mask.encode(bits)
        masks.append(
            {
                "id": 1000 * number + nth,
                "segmentation": {"size": [height, width], "counts": runs["counts"].decode()},
                "bbox": [float(side) for side in mask.toBbox(runs)],
                "area": int(mask.area(runs)),
                "predicted_iou": 0.95,
                "point_coords": [[4.0, 4.0]],
                "crop_box": [0.0, 0.0, float(width), float(height)],
                "stability_score": 0.97,
            }
        )
    image = {"image_id": number, "width": width, "height": height, "file_name": f"sa_{number}.jpg"}
    return {"image": image, "annotations": masks}


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    header = tarfile.TarInfo(name)
    header.size = len(data)
    archive.addfile(header, io.BytesIO(data))
