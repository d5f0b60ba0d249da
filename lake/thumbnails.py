"""Small pictures for pages that stand alone."""

import base64
import io

from captionlake.lake.pictures import open_rgb

_SIDE = 288  # pixels of the longer side
_QUALITY = 78


def thumbnail(data: bytes) -> str:
    """A stored picture, upright, as a small JPEG in a data URI."""
    picture = open_rgb(data)
    picture.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
