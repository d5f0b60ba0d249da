"""The contact sheet: some of the release's pictures, with what their captions say and who made them.

Only pictures whose source lets bytes be passed on; fact ``contact_sheet`` chooses them, and the card lists the same credits as text.
"""

import io
import logging
from itertools import accumulate
from pathlib import Path
from typing import Any

from captionlake.cards.facts import Facts
from captionlake.cards.markdown import one_line
from captionlake.errors import require
from captionlake.lake import Lake

log = logging.getLogger(__name__)

CONTACT_SHEET = "figures/contact_sheet.png"
_COLUMNS = 4
_WIDTH = 300  # pixels of a cell; the pictures lie inside, whole
_HEIGHT = 225
_GAP = 18
_PAD = 6
_LINES = {"collection": 1, "caption": 3, "credit": 2}
_SIZE = {"collection": 13, "caption": 14, "credit": 12}
_LEADING = 1.3
_INK, _GREY, _MAT = (30, 30, 30), (95, 95, 95), (242, 242, 240)


def contact_sheet(lake: Lake, facts: Facts) -> dict[str, bytes]:
    """The sheet as PNG by file name; nothing where no source lets its pictures' bytes be passed on."""
    rows = facts["contact_sheet"].records
    if not rows:
        return {}
    require("matplotlib", extra="cards")
    from PIL import Image, ImageDraw

    from captionlake.lake.pictures import open_rgb

    fonts = {name: _font(size) for name, size in _SIZE.items()}
    texts = [_lines(row, fonts) for row in rows]
    columns = _columns(len(rows))
    bands = [range(first, min(first + columns, len(rows))) for first in range(0, len(rows), columns)]
    heights = [_HEIGHT + _GAP + max(_text_height(texts[number]) for number in band) for band in bands]
    sheet = Image.new("RGB", (columns * (_WIDTH + _GAP) + _GAP, sum(heights) + _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    data = dict(lake.pictures([row["image_id"] for row in rows]))
    for band, top in zip(bands, accumulate(heights[:-1], initial=_GAP), strict=True):
        for number in band:
            x, y = _GAP + (number - band.start) * (_WIDTH + _GAP), top
            draw.rectangle((x, y, x + _WIDTH - 1, y + _HEIGHT - 1), fill=_MAT)
            picture = open_rgb(data[rows[number]["image_id"]])
            picture.thumbnail((_WIDTH, _HEIGHT), Image.Resampling.LANCZOS)
            sheet.paste(picture, (x + (_WIDTH - picture.width) // 2, y + (_HEIGHT - picture.height) // 2))
            y += _HEIGHT + _PAD
            for name, line in texts[number]:
                _write(draw, (x, y), line, fonts[name], _INK if name == "caption" else _GREY)
                y += round(_SIZE[name] * _LEADING)
    png = io.BytesIO()
    sheet.save(png, "PNG")
    return {CONTACT_SHEET: png.getvalue()}


def _columns(pictures: int) -> int:
    """Up to four, or three where that leaves fewer cells empty."""
    return min(pictures, min((4, 3), key=lambda columns: -pictures % columns))


def _lines(row: dict[str, Any], fonts: dict[str, Any]) -> list[tuple[str, str]]:
    """(kind of text, line) of what stands under a picture."""
    texts = {
        "collection": one_line(row["collection"]),
        "caption": one_line(row["caption"] or "(no caption)"),
        "credit": credit(row),
    }
    return [(name, line) for name, text in texts.items() for line in _wrap(text, fonts[name], _LINES[name])]


def _text_height(lines: list[tuple[str, str]]) -> int:
    return _PAD + sum(round(_SIZE[name] * _LEADING) for name, _ in lines)


def credit(row: dict[str, Any]) -> str:
    """Who made a picture and under what licence, in words."""
    author = one_line(row["author"]) if row["author"] else "author not recorded"
    licence = one_line(row["licence"]) if row["licence"] else "licence not recorded"
    return f"{author} · {licence}"


def _font(size: int) -> Any:
    """DejaVu Sans, which comes with matplotlib and knows more scripts; else the font inside Pillow."""
    from PIL import ImageFont

    matplotlib: Any = require("matplotlib", extra="cards")
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    try:
        return ImageFont.truetype(str(path), size)
    except OSError:
        log.info("no DejaVu Sans in %s, using Pillow's own font", path.parent)
        return ImageFont.load_default(size)


def _wrap(text: str, font: Any, lines: int) -> list[str]:
    """Break at spaces, and inside words that are wider than the cell; the last line ends in … where text is left."""
    wrapped: list[str] = []
    words = text[:1000].split(" ")
    while words and len(wrapped) < lines:
        line = words.pop(0)
        while words and font.getlength(f"{line} {words[0]}") <= _WIDTH:
            line = f"{line} {words.pop(0)}"
        cut = _fits(line, font)
        if cut < len(line):
            words.insert(0, line[cut:])
        wrapped.append(line[:cut])
    if words and wrapped:
        last = wrapped[-1]
        while last and font.getlength(f"{last}…") > _WIDTH:
            last = last[:-1]
        wrapped[-1] = f"{last.rstrip()}…"
    return wrapped


def _fits(line: str, font: Any) -> int:
    """How many characters of a line fit the cell, at least one."""
    cut = len(line)
    while cut > 1 and font.getlength(line[:cut]) > _WIDTH:
        cut -= 1
    return cut


def _write(draw: Any, at: tuple[int, int], line: str, font: Any, ink: tuple[int, int, int]) -> None:
    try:
        draw.text(at, line, font=font, fill=ink)
    except (ValueError, OSError, UnicodeError) as error:  # a text that FreeType cannot lay out
        log.warning("a caption could not be drawn: %s", error)
        draw.text(at, line.encode("ascii", "replace").decode(), font=font, fill=ink)
