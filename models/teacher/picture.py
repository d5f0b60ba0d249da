"""Pictures as an endpoint bills for them: no larger, since it would scale them down itself, and no smaller."""

import base64
import io
import math
from dataclasses import dataclass

from PIL import Image, ImageOps

from captionlake.models.teacher.outcome import NoCaption, Outcome
from captionlake.models.teacher.teacher_config import TeacherConfig

_SENT_AS_THEY_ARE = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
_QUALITY = 90
_TURN = 0x0112  # EXIF's orientation


@dataclass(frozen=True, slots=True)
class Sent:
    """A picture as it is sent: a ``data:`` URL, and its size."""

    url: bytes
    width: int
    height: int


def billed_size(width: int, height: int, config: TeacherConfig) -> tuple[int, int]:
    """The size that is sent: for ``high`` within 2048 x 2048 and then 768 on the short side, for ``low`` within 512 x 512
    (OpenAI's guide to images, "Calculating costs"), or within ``max_side``; never larger than it is."""
    if config.max_side is not None:
        scale = config.max_side / max(width, height)
    elif config.detail == "low":
        scale = 512 / max(width, height)
    else:
        scale = min(1.0, 2048 / max(width, height))
        scale = min(scale, 768 / min(width, height))
    if scale >= 1.0:
        return width, height
    return max(1, round(width * scale)), max(1, round(height * scale))


def image_tokens(width: int, height: int, detail: str, *, base: int = 85, tile: int = 170) -> int:
    """Tokens of a picture of the size that is sent: ``base``, and ``tile`` for each 512 x 512 of it unless ``low``."""
    if detail == "low":
        return base
    return base + tile * math.ceil(width / 512) * math.ceil(height / 512)


def sent(data: bytes, config: TeacherConfig) -> Sent:
    """The picture scaled, and written anew as JPEG only where that, its form or its EXIF turn asks for it."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            turn = image.getexif().get(_TURN, 1)
            size = billed_size(*image.size, config)
            kind = _SENT_AS_THEY_ARE.get(image.format or "")
            if size == image.size and kind is not None and turn in (0, 1):
                return Sent(_url(kind, data), *size)
            if size != image.size:
                image.draft("RGB", (size[0] * 2, size[1] * 2))
            upright = _rgb(ImageOps.exif_transpose(image))
            if turn in (5, 6, 7, 8):
                size = size[::-1]
            if upright.size != size:
                upright = upright.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
            buffer = io.BytesIO()
            upright.save(buffer, "JPEG", quality=_QUALITY)
            return Sent(_url("image/jpeg", buffer.getvalue()), *size)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise NoCaption(Outcome.BAD_PICTURE, f"the picture does not decode ({error})") from error


def _rgb(image: Image.Image) -> Image.Image:
    """Transparency on white, one frame, eight bits."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        whole = image.convert("RGBA")
        flat = Image.new("RGB", image.size, "white")
        flat.paste(whole, mask=whole.getchannel("A"))
        return flat
    if image.mode.startswith("I"):  # 16 bits a pixel
        return image.convert("F").point(lambda value: value / 257).convert("L").convert("RGB")
    return image.convert("RGB")


def _url(kind: str, data: bytes) -> bytes:
    return b"data:" + kind.encode() + b";base64," + base64.b64encode(data)
