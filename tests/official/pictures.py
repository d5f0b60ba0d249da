"""Toy pictures: small crops of the photographs that scikit-image and scikit-learn ship, each with colours of its own."""

import io
import itertools
import random
from collections.abc import Mapping

from PIL import Image

SIDE = 64
_CHANNELS = list(itertools.permutations("RGB"))


def crops(photographs: Mapping[str, Image.Image], count: int, *, seed: int = 0, side: int = SIDE) -> list[bytes]:
    """``count`` different JPEGs of ``side`` x ``side`` pixels, the same ones for the same seed.

    Each is a crop at a random place and scale, turned by quarters, mirrored, and with its channels swapped and some of
    them inverted, so that few of them look alike.
    """
    chance = random.Random(seed)
    known = [photographs[name].convert("RGB") for name in sorted(photographs)]
    made: dict[bytes, None] = {}
    while len(made) < count:
        picture = known[len(made) % len(known)]
        wide = chance.randint(min(picture.size) // 5, min(picture.size))
        left, top = chance.randint(0, picture.width - wide), chance.randint(0, picture.height - wide)
        crop = picture.resize((side, side), Image.Resampling.BILINEAR, (left, top, left + wide, top + wide))
        crop = crop.rotate(90 * chance.randrange(4))
        if chance.random() < 0.5:
            crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        bands = [crop.getchannel(name) for name in chance.choice(_CHANNELS)]
        bands = [band.point(lambda value: 255 - value) if chance.random() < 0.5 else band for band in bands]
        made.setdefault(_jpeg(Image.merge("RGB", bands), 90))
    return list(made)


def again(picture: bytes) -> bytes:
    """The same picture written once more: other bytes, much the same sight."""
    return _jpeg(Image.open(io.BytesIO(picture)), 88)


def size(picture: bytes) -> tuple[int, int]:
    """Width and height."""
    return Image.open(io.BytesIO(picture)).size


def _jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
