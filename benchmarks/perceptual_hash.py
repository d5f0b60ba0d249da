"""How far apart perceptual hashes of real photographs lie: of different ones, and of one that was changed.

    python benchmarks/perceptual_hash.py

Prints, for each Hamming distance, how many pairs of different photographs lie within it (false positives) and what share
of changed copies does. The photographs are those of the demo (recipes/demo/photographs.py).
"""

import io
import sys
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image

from captionlake.lake.pictures import inspect, open_rgb

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "recipes" / "demo"))

_MOST = 12


def _saved(image: Image.Image, form: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def _scaled(image: Image.Image, share: float) -> Image.Image:
    return image.resize((max(8, round(image.width * share)), max(8, round(image.height * share))))


def _cropped(image: Image.Image, share: float) -> Image.Image:
    left, top = round(image.width * share), round(image.height * share)
    return image.crop((left, top, image.width - left, image.height - top))


CHANGES: dict[str, Callable[[Image.Image], bytes]] = {
    "JPEG of quality 90": lambda image: _saved(image, "JPEG", quality=90),
    "JPEG of quality 50": lambda image: _saved(image, "JPEG", quality=50),
    "half the size": lambda image: _saved(_scaled(image, 0.5), "PNG"),
    "a quarter, JPEG of quality 75": lambda image: _saved(_scaled(image, 0.25), "JPEG", quality=75),
    "WebP of quality 80": lambda image: _saved(image, "WEBP", quality=80),
    "1 % cropped at each side": lambda image: _saved(_cropped(image, 0.01), "JPEG", quality=90),
    "5 % cropped at each side": lambda image: _saved(_cropped(image, 0.05), "JPEG", quality=90),
}


def main() -> None:
    from photographs import collect

    pictures = [open_rgb(photograph.data) for photograph in collect().photographs]
    hashes = [inspect(_saved(image, "PNG")).phash for image in pictures]
    apart = np.array([(a ^ b).bit_count() for a, b in combinations(hashes, 2)])
    print(f"{len(pictures)} photographs, {len(apart):,} pairs of different ones")
    print("distance at most      " + "".join(f"{limit:>7}" for limit in range(0, _MOST + 1, 2)))
    print("different photographs " + "".join(f"{int((apart <= limit).sum()):>7}" for limit in range(0, _MOST + 1, 2)))
    for name, change in CHANGES.items():
        near = np.array(
            [(inspect(change(image)).phash ^ own).bit_count() for image, own in zip(pictures, hashes, strict=True)]
        )
        print(f"{name:<30}" + "".join(f"{(near <= limit).mean():>7.1%}" for limit in range(0, _MOST + 1, 2)))
    closest = sorted(zip(apart.tolist(), combinations(range(len(pictures)), 2), strict=True))[:8]
    keys = [photograph.key for photograph in collect().photographs]
    for distance, (one, other) in closest:
        print(f"{distance:>3}  {keys[one]}  {keys[other]}")


if __name__ == "__main__":
    main()
