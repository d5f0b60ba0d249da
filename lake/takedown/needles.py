"""What a removed thing looks like where it is left: as it is, and in the forms in which files hold text and bytes."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, quote_plus

from captionlake.errors import CaptionlakeError

_SLICE = 48  # bytes of a picture that are looked for: no other file has the same so many by chance
_SLICES = 8  # of a picture, spread over its data


@dataclass(frozen=True, slots=True)
class Needle:
    """``patterns``, any of which gives ``name`` away."""

    name: str
    patterns: tuple[bytes, ...]


def text_needle(text: str) -> Needle:
    """A URL or a key: as it is, as JSON, in a URL, in UTF-16, hexadecimal and in base64."""
    raw = text.encode()
    forms = {raw, json.dumps(text)[1:-1].encode(), quote(text).encode(), quote(text, safe="").encode()}
    forms |= {quote_plus(text).encode(), text.encode("utf-16-le"), raw.hex().encode()}
    return Needle(text, tuple(sorted(forms | set(_base64(raw)))))


def picture_needle(path: Path) -> Needle:
    """The bytes of a picture: slices of its data, as they are, hexadecimal and in base64."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CaptionlakeError(f"{path} cannot be read ({error.strerror})") from error
    slices = set(_slices(data))
    if not slices:
        raise CaptionlakeError(f"{path} is too small to be looked for by its bytes")
    forms = slices | {one.hex().encode() for one in slices}
    return Needle(str(path), tuple(sorted(forms | {text for one in slices for text in _base64(one)})))


def _slices(data: bytes) -> Iterator[bytes]:
    """Slices of the second half with many different bytes: what stands before, and even surfaces, are alike in many pictures."""
    for number in range(_SLICES):
        start = (len(data) + len(data) * number // _SLICES) // 2
        one = data[start : start + _SLICE]
        if len(set(one)) >= _SLICE // 2:
            yield one


def _base64(raw: bytes) -> Iterator[bytes]:
    """The letters that stand for these bytes wherever in a longer text they begin."""
    for shift in range(3):
        whole = base64.b64encode(bytes(shift) + raw)
        first = -(-shift * 8 // 6)
        yield whole[first : (shift + len(raw)) * 8 // 6]
