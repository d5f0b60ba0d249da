"""The card's plot: how long the captions are, one panel for each kind and producer, drawn from the facts alone."""

import io
import warnings
from typing import Any

from captionlake.cards.facts import Facts
from captionlake.cards.markdown import excerpt, plural
from captionlake.errors import require

CAPTION_LENGTHS = "figures/caption_lengths"
_PANELS = 6
# Okabe and Ito's palette, without its yellow, which is faint on white.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")


def caption_lengths(facts: Facts) -> dict[str, bytes]:
    """The histogram as PNG and SVG, by file name; nothing where there are no captions. At most six panels, the largest groups."""
    groups = [
        row for row in facts["caption_lengths"].records if row["unit"] == "characters" and row["kind"] is not None
    ]
    groups = [group for group in groups if group["captions"]][:_PANELS]
    if not groups:
        return {}
    matplotlib: Any = require("matplotlib", extra="cards")
    agg: Any = require("matplotlib.backends.backend_agg", extra="cards")
    vector: Any = require("matplotlib.backends.backend_svg", extra="cards")
    from matplotlib.figure import Figure

    style = {
        "svg.hashsalt": "captionlake",
        "svg.fonttype": "path",
        "font.family": "DejaVu Sans",
        "text.parse_math": False,
    }
    with matplotlib.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # a box stands for it
        figure = Figure(figsize=(8, 0.9 + 1.55 * len(groups)), layout="constrained")
        _draw(figure, groups, facts["caption_length_histogram"].records)
        png, svg = io.BytesIO(), io.BytesIO()
        agg.FigureCanvasAgg(figure).print_png(png, metadata={"Software": None})
        vector.FigureCanvasSVG(figure).print_svg(svg, metadata={"Date": None, "Creator": None})
    return {f"{CAPTION_LENGTHS}.png": png.getvalue(), f"{CAPTION_LENGTHS}.svg": svg.getvalue()}


def _draw(figure: Any, groups: list[dict[str, Any]], bins: list[dict[str, Any]]) -> None:
    figure.dpi = 130
    panels = figure.subplots(len(groups), 1, sharex=True, squeeze=False)[:, 0]
    width = bins[0]["bin_width"]
    last = max(row["from_chars"] for row in bins)
    for panel, group, colour in zip(panels, groups, _COLOURS, strict=False):
        own = [row for row in bins if (row["kind"], row["producer"]) == (group["kind"], group["producer"])]
        shares = [100 * row["captions"] / group["captions"] for row in own]
        panel.bar(
            [row["from_chars"] for row in own],
            shares,
            width=width,
            align="edge",
            color=colour,
            edgecolor="white",
            linewidth=0.6,
        )
        panel.axvline(group["median"], color="black", linewidth=1.2, linestyle=(0, (4, 2)))
        panel.set_title(
            f"{excerpt(group['kind'], 20)}, by {excerpt(group['producer'], 50)}: {plural(group['captions'], 'caption')}, "
            f"median {group['median']:,} characters",
            loc="left",
            fontsize=10,
        )
        panel.set_ylabel("% of captions", fontsize=9)
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(labelsize=9)
        panel.grid(axis="y", linewidth=0.4, alpha=0.5)
        panel.set_axisbelow(True)
        panel.set_xlim(0, last + width)
    longest = max(group["longest"] for group in groups)
    tail = f"; the last bin holds all that is longer, up to {longest:,}" if longest >= last + width else ""
    panels[-1].set_xlabel(f"characters in a caption (dashed: median{tail})", fontsize=9)
