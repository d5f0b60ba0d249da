"""Near-duplicates of a photograph, made the way they come to be on the web. The same bytes each time for one Pillow."""

import io
from collections.abc import Callable

from PIL import Image, ImageEnhance

THUMBNAIL = 160  # pixels of the longer side: under the 224 that the demo's recipe asks for


def _recompressed(image: Image.Image) -> tuple[Image.Image, int]:
    return image, 75


def _resized(image: Image.Image) -> tuple[Image.Image, int]:
    size = (round(image.width * 0.7), round(image.height * 0.7))
    return image.resize(size, Image.Resampling.LANCZOS), 90


def _cropped(image: Image.Image) -> tuple[Image.Image, int]:
    """Without 3 per cent of each side."""
    x, y = round(image.width * 0.03), round(image.height * 0.03)
    return image.crop((x, y, image.width - x, image.height - y)), 90


def _brightened(image: Image.Image) -> tuple[Image.Image, int]:
    return ImageEnhance.Brightness(image).enhance(1.15), 90


def _thumbnail(image: Image.Image) -> tuple[Image.Image, int]:
    small = image.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    return small, 85


CHANGES: dict[str, Callable[[Image.Image], tuple[Image.Image, int]]] = {
    "recompressed": _recompressed,
    "resized": _resized,
    "cropped": _cropped,
    "brightened": _brightened,
    "thumbnail": _thumbnail,
}
EXACT = "exact"
KINDS = (EXACT, *CHANGES)


def make(kind: str, original: bytes) -> bytes:
    """The bytes of a variant: the original's own for an exact copy, else a JPEG without metadata."""
    if kind == EXACT:
        return original
    with Image.open(io.BytesIO(original)) as image:
        changed, quality = CHANGES[kind](image.convert("L" if image.mode == "L" else "RGB"))
    out = io.BytesIO()
    changed.save(out, "JPEG", quality=quality, subsampling=2, optimize=False)
    return out.getvalue()
