"""The decode check: what a picture's bytes are, or why they are no picture; and the picture as a viewer shows it."""

import functools
import importlib
import io
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from captionlake.lake.measures import colour, phash, reduced, samples, thumbnail
from captionlake.lake.reasons import FailureReason

if TYPE_CHECKING:
    from PIL import Image

# Pillow knows more than forty formats, some of which run other programs. Phones' MPO files open as JPEG.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
MAX_PIXELS = 89_478_485  # Pillow's own threshold of suspicion: 340 MiB once decoded. Pillow refuses twice that itself.
PIXELS_AT_ONCE = 2**26  # in all threads together, 256 MiB once decoded; a larger picture is decoded alone
_STRIP_PIXELS = 2**22  # pictures above it are looked at strip by strip, to hold no second copy of them
_CONVERTED_PIXELS = 2**20  # the same for those that must be brought to RGB, which takes several copies
_BLOCK_BYTES = 2**26
_LEAST_SIDE = 64  # of a picture decoded reduced, as of what ``reduced`` makes of one
_ORIENTATION = 0x0112  # the EXIF tag


@dataclass(frozen=True, slots=True)
class Picture:
    """Facts of a picture that was decoded whole.

    ``width`` and ``height`` are as displayed, after the EXIF turn. ``format`` is Pillow's name in upper case (MPO
    counts as JPEG). ``phash``, ``is_gray`` and ``is_blank`` are as ``captionlake.lake.measures`` defines them.
    """

    width: int
    height: int
    format: str
    orientation: int
    phash: int
    n_bytes: int
    is_gray: bool
    is_blank: bool

    @property
    def aspect_ratio(self) -> float:
        """Width by height, as displayed."""
        return self.width / self.height


class PictureError(Exception):
    """Bytes that are no picture for us."""

    def __init__(self, reason: FailureReason, detail: str) -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason}: {detail}")


def inspect(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Decode once, whole, and say what it is. Of an animation, the first frame.

    Raises :class:`PictureError` with reason not_an_image, bomb (more than ``max_pixels``, told by the header before a
    pixel is decoded, or compressed metadata that swells), truncated or decode_error. Safe to call from many threads,
    which do run at once: Pillow decodes and resamples without the interpreter's lock.
    """
    return inspect_sized(data, None, max_pixels=max_pixels)[0]


def inspect_sized(
    data: bytes, size: int | None, *, max_pixels: int = MAX_PIXELS
) -> "tuple[Picture, Image.Image | None]":
    """As :func:`inspect`, and of the same decode the displayed picture in RGB, brought to ``size`` x ``size`` by BILINEAR.

    Without ``size`` a JPEG is decoded to half, a quarter or an eighth of its sides, as long as they keep 64 pixels: all its data
    is read nevertheless, so that what is broken is found. One that looks gray or blank so is decoded in full to be sure.
    """
    return _inspected(data, size, max_pixels, _LEAST_SIDE if size is None else None)


def _inspected(
    data: bytes, size: int | None, max_pixels: int, least_side: int | None
) -> "tuple[Picture, Image.Image | None]":
    from PIL.Image import Resampling

    with _decoded(data, max_pixels, least_side) as found:
        image, turn = found.image, found.turn
        width, height = found.size if turn < 5 else found.size[::-1]
        strips = functools.partial(_strips, image)
        small = reduced(image.size, strips)
        gray = samples(_turned(thumbnail(small, image.size, found.span), turn))
        seen = colour(small, gray, strips)
        doubtful = found.size != image.size and (seen.is_blank or (seen.is_gray and small.mode != "L"))
        name = "JPEG" if image.format == "MPO" else str(image.format).upper()
        resized = None
        if size is not None:
            resized = _turned(_whole(image).resize((size, size), Resampling.BILINEAR).convert("RGB"), turn)
        picture = Picture(width, height, name, found.orientation, phash(gray), len(data), seen.is_gray, seen.is_blank)
    return _inspected(data, size, max_pixels, None) if doubtful else (picture, resized)


def open_rgb(data: bytes, *, max_pixels: int = MAX_PIXELS) -> "Image.Image":
    """The picture as a viewer shows it: EXIF-turned, RGB, transparency laid on white, 16-bit samples cut to 8.

    Colour profiles are not applied. Raises as :func:`inspect` does.
    """
    with _decoded(data, max_pixels) as found:
        return _turned(_whole(found.image).convert("RGB"), found.turn)


def open_reduced(
    data: bytes, least_side: int, *, max_pixels: int = MAX_PIXELS
) -> "tuple[Image.Image, tuple[int, int]]":
    """As :func:`open_rgb`, a JPEG decoded to half, a quarter or an eighth of its sides as long as they keep ``least_side``.

    With it the width and height of the whole, as displayed. A last column or row that is only partly within the picture
    is left out.
    """
    with _decoded(data, max_pixels, least_side) as found:
        whole_pixels = int(found.span[0]), int(found.span[1])
        image = found.image if whole_pixels == found.image.size else found.image.crop((0, 0, *whole_pixels))
        whole = found.size if found.turn < 5 else found.size[::-1]
        return _turned(_whole(image).convert("RGB"), found.turn), whole


class Room(Protocol):
    """What lets pictures in as long as there is room for their pixels."""

    def of(self, pixels: int) -> AbstractContextManager[None]: ...


class _Room:
    """Lets pictures in as long as there is room for their pixels, in the order they come; a larger one waits until it is alone."""

    def __init__(self, pixels: int) -> None:
        self._pixels, self._taken = pixels, 0
        self._turn, self._changed = threading.Lock(), threading.Condition()

    @contextmanager
    def of(self, pixels: int) -> Iterator[None]:
        with self._turn, self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + pixels <= self._pixels)
            self._taken += pixels
        try:
            yield
        finally:
            with self._changed:
                self._taken -= pixels
                self._changed.notify()


_room: Room = _Room(PIXELS_AT_ONCE)


def prepare(room: Room) -> None:
    """Decode within this room from now on, and load what decoding needs."""
    global _room
    _room = room
    _formats()


@functools.cache
def _formats() -> tuple[str, ...]:
    """The allowed formats that this Pillow has, their plugins imported, no other plugin loaded for their sake.

    Pillow is told once to keep large pictures in blocks of 64 MiB, not 16: glibc gives blocks over 32 MiB back to the system as
    soon as they are free, and holds on to smaller ones in each thread.
    """
    from PIL import Image

    Image.core.set_block_size(_BLOCK_BYTES)  # type: ignore[attr-defined]

    for plugin in ("Jpeg", "Png", "WebP", "Gif", "Bmp", "Tiff", "Avif"):
        try:
            importlib.import_module(f"PIL.{plugin}ImagePlugin")
        except ImportError:  # AVIF came with Pillow 11.3
            continue
    return tuple(name for name in FORMATS if name in Image.OPEN)


class _Decoded(NamedTuple):
    """A picture with all its data decoded.

    ``size`` is the stored one, in pixels; ``span`` how many pixels of ``image`` that is, which differs where a JPEG was decoded
    reduced. ``turn`` is the EXIF turn to make, ``orientation`` what the file asked for: TIFF is turned by Pillow as it loads.
    """

    image: "Image.Image"
    size: tuple[int, int]
    span: tuple[float, float]
    turn: int
    orientation: int


@contextmanager
def _decoded(data: bytes, max_pixels: int, least_side: int | None = None) -> Iterator[_Decoded]:
    """The picture, a JPEG reduced by 2, 4 or 8 as long as no side is under ``least_side``. What fails inside leaves as a PictureError."""
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise PictureError(FailureReason.NOT_AN_IMAGE, "no bytes")
    try:
        with Image.open(io.BytesIO(data), formats=_formats()) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise PictureError(FailureReason.BOMB, f"{width} x {height} pixels, at most {max_pixels} are decoded")
            with _room.of(width * height):
                asked = _orientation(image) if image.format == "TIFF" else None
                drafted = image.draft(None, _drafted(width, height, least_side)) if least_side else None
                image.load()
                turn = _orientation(image)
                if drafted is None:
                    yield _Decoded(image, image.size, image.size, turn, asked or turn)
                else:
                    yield _Decoded(image, (width, height), drafted[1][2:], turn, asked or turn)
    except PictureError:
        raise
    except UnidentifiedImageError:
        raise _unidentified(data) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError) as error:
        raise PictureError(FailureReason.BOMB, _told(error)) from error
    except Exception as error:
        detail = _told(error)
        if "MAX_TEXT" in detail or "text chunks" in detail:  # what PngImagePlugin says of metadata that swells
            raise PictureError(FailureReason.BOMB, detail) from error
        cut = "truncated" in detail or isinstance(error, EOFError) or _cut_off(data)
        raise PictureError(FailureReason.TRUNCATED if cut else FailureReason.DECODE_ERROR, detail) from error


def _drafted(width: int, height: int, least_side: int) -> tuple[int, int]:
    """The size to ask a JPEG for."""
    times = max(1, min(width, height) // least_side)
    return width // times, height // times


def _told(error: BaseException) -> str:
    text = f"{type(error).__name__}: {error}"
    return "".join(c if c.isprintable() else " " for c in text)[:200]


def _unidentified(data: bytes) -> PictureError:
    if _format_by_magic(data) is None:
        start = data[:64].lstrip().lower()
        page = start.startswith((b"<!doctype html", b"<html", b"<head", b"<body"))
        return PictureError(FailureReason.NOT_AN_IMAGE, "an HTML page" if page else "no picture format that is taken")
    if _cut_off(data):
        return PictureError(FailureReason.TRUNCATED, "the file ends within its header")
    return PictureError(FailureReason.DECODE_ERROR, "the header is broken")


def _format_by_magic(data: bytes) -> str | None:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"avis"):
        return "AVIF"
    starts = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"GIF87a": "GIF", b"GIF89a": "GIF"}
    starts |= {b"BM": "BMP", b"II*\0": "TIFF", b"MM\0*": "TIFF"}
    return next((name for start, name in starts.items() if data.startswith(start)), None)


def _cut_off(data: bytes) -> bool:
    """Whether a file that does not decode lacks the end that its format prescribes."""
    match _format_by_magic(data):
        case "JPEG":
            return b"\xff\xd9" not in data[-1024:]
        case "PNG":
            return b"IEND" not in data[-1024:]
        case "GIF":
            return not data.rstrip(b"\0").endswith(b";")
        case "WEBP":
            return len(data) < int.from_bytes(data[4:8], "little") + 8
        case "BMP":
            return len(data) < max(6, int.from_bytes(data[2:6], "little"))
        case _:
            return False


def _orientation(image: "Image.Image") -> int:
    """The EXIF orientation, 1 where it is absent or means nothing. Broken EXIF is no reason to refuse a picture."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _turned(image: "Image.Image", orientation: int) -> "Image.Image":
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return image.transpose(turns[orientation]) if orientation in turns else image


def _strips(image: "Image.Image", rows: int) -> "Iterator[Image.Image]":
    """The picture as by :func:`_flat`, from top to bottom in strips of a multiple of ``rows``; a small one in one piece."""
    width, height = image.size
    most = _STRIP_PIXELS if _is_flat(image) else _CONVERTED_PIXELS
    if width * height <= most:
        yield _flat(image)
        return
    step = max(1, most // (width * rows)) * rows
    for top in range(0, height, step):
        yield _flat(image.crop((0, top, width, min(top + step, height))))


def _whole(image: "Image.Image") -> "Image.Image":
    """The picture as by :func:`_flat`, in one piece that is made of strips."""
    from PIL import Image

    if _is_flat(image):
        return image
    whole, top = None, 0
    for strip in _strips(image, 1):
        whole = whole or Image.new(strip.mode, image.size)
        whole.paste(strip, (0, top))
        top += strip.height
    return whole or image


def _is_flat(image: "Image.Image") -> bool:
    return image.mode in ("L", "RGB") and not image.has_transparency_data


def _flat(image: "Image.Image") -> "Image.Image":
    """The picture in mode L or RGB, without transparency: white lies behind it."""
    from PIL import Image

    if _is_flat(image):
        return image
    if image.mode.startswith("I"):  # 16 bits a sample; Pillow's own conversion would clip them at 255
        import numpy as np

        samples = np.asarray(image).astype(np.int64)
        return Image.fromarray((samples >> 8).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")
