"""A figure of matplotlib's as PNG and SVG, the same bytes for the same content."""

import io
import warnings
from collections.abc import Callable
from typing import Any

from captionlake.errors import require

_STYLE = {"svg.hashsalt": "captionlake", "font.family": ["DejaVu Sans"], "text.parse_math": False}


def render(name: str, draw: Callable[[], Any], *, extra: str, text_as_text: bool = False) -> dict[str, bytes]:
    """``NAME.png`` and ``NAME.svg`` of the ``matplotlib.figure.Figure`` that ``draw`` returns. Neither holds a date or a version.

    ``text_as_text``: SVG keeps words as text, which are as wide as they were measured; else they become outlines. ``extra`` is the
    one that brings matplotlib.
    """
    matplotlib: Any = require("matplotlib", extra=extra)
    agg: Any = require("matplotlib.backends.backend_agg", extra=extra)
    vector: Any = require("matplotlib.backends.backend_svg", extra=extra)
    words = {"svg.fonttype": "none", "text.hinting": "none"} if text_as_text else {"svg.fonttype": "path"}
    with matplotlib.rc_context(_STYLE | words), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # a box stands for it
        figure = draw()
        png, svg = io.BytesIO(), io.BytesIO()
        agg.FigureCanvasAgg(figure).print_png(png, metadata={"Software": None}, pil_kwargs={"optimize": True})
        vector.FigureCanvasSVG(figure).print_svg(svg, metadata={"Date": None, "Creator": None})
    return {f"{name}.png": png.getvalue(), f"{name}.svg": svg.getvalue()}
