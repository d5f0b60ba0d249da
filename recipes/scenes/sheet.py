"""Pictures side by side, each with lines of text under it."""

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

_SIDE, _GAP, _LINE, _COLUMNS = 192, 14, 15, 5


def draw_sheet(path: Path, pictures: Sequence[tuple[bytes, Sequence[str]]]) -> None:
    """Write a PNG of ``pictures``: (an image's bytes, paragraphs to stand under it)."""
    font = ImageFont.load_default(12)
    texts = [[line for part in parts for line in (textwrap.wrap(part, 30) or [""])] for _, parts in pictures]
    cell = _SIDE + _LINE * max(map(len, texts)) + 2 * _GAP
    rows = -(-len(pictures) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * (_SIDE + _GAP) + _GAP, rows * cell + _GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for number, ((data, _), lines) in enumerate(zip(pictures, texts, strict=True)):
        x, y = _GAP + number % _COLUMNS * (_SIDE + _GAP), _GAP + number // _COLUMNS * cell
        with Image.open(io.BytesIO(data)) as picture:
            sheet.paste(picture.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.NEAREST), (x, y))
        for line_number, line in enumerate(lines):
            pen.text((x, y + _SIDE + 4 + line_number * _LINE), line, fill="black", font=font)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, optimize=True)
