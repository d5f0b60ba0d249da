"""The card's plot: how long the captions are, one panel for each kind and producer, drawn from the facts alone."""

from typing import Any

from captionlake.cards.facts import Facts
from captionlake.cards.markdown import excerpt, plural
from captionlake.lake.figures import render

CAPTION_LENGTHS = "figures/caption_lengths"
SUNBURST = "figures/sunburst"
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
    bins = facts["caption_length_histogram"].records
    return render(CAPTION_LENGTHS, lambda: _draw(groups, bins), extra="cards")


def sunburst(facts: Facts) -> dict[str, bytes]:
    """Root verbs and their nouns as PNG and SVG, of the parser that read most captions; nothing where none was parsed."""
    from captionlake.curation.analysis.analysis import Pair
    from captionlake.curation.analysis.sunburst import Panel, draw_panels, hole_lines

    parsed = facts["words"].records
    if not parsed:
        return {}
    parser = max(parsed, key=lambda row: row["parsed"])["parser"]
    panels = []
    for row in parsed:
        pairs = [
            Pair(verb=pair["verb"], noun=pair["noun"], sentences=pair["sentences"], share=pair["share_percent"])
            for pair in facts["root_pairs"].records
            if (pair["parser"], pair["producer"]) == (parser, row["producer"])
        ]
        if row["parser"] == parser and pairs:
            lines = hole_lines(row["parsed"], row["sentences"], row["sentences_with_pair"], pairs)
            panels.append(Panel(producer=row["producer"], pairs=pairs, lines=lines))
    return draw_panels(SUNBURST, panels, share=1.0, whence=facts.label, parser=parser, extra="cards")


def _draw(groups: list[dict[str, Any]], bins: list[dict[str, Any]]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 0.9 + 1.55 * len(groups)), dpi=130, layout="constrained")
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
    return figure
