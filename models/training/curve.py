"""``loss.png`` and ``loss.svg``: the loss and the learning rate over the steps."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from captionlake.lake.figures import render
from captionlake.models.training.log_file import LogLine

_BLUE, _ORANGE = "#0072B2", "#D55E00"  # Okabe and Ito
_WINDOW = 20  # of the lines, this part is one average


def loss_figures(lines: Sequence[LogLine], title: str) -> dict[str, bytes]:
    """Both files by their names. None where fewer than two lines are logged."""
    return render("loss", lambda: _draw(lines, title), extra="train") if len(lines) > 1 else {}


def _draw(lines: Sequence[LogLine], title: str) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.6), layout="constrained", dpi=130)
    steps = np.array([line.step for line in lines])
    loss = np.array([line.loss for line in lines])
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    window = max(1, len(lines) // _WINDOW)
    if window > 1:
        above.plot(steps, loss, color=_BLUE, linewidth=0.8, alpha=0.35, label="logged")
        above.plot(steps, smooth(loss, window), color=_BLUE, linewidth=2, label=f"mean of {window} lines")
        above.legend(frameon=False, fontsize=9)
    else:
        above.plot(steps, loss, color=_BLUE, linewidth=1.6)
    above.set_title(title, loc="left", fontsize=10)
    above.set_ylabel("loss (nats a token)", fontsize=9)
    below.plot(steps, [line.lr for line in lines], color=_ORANGE, linewidth=1.4)
    below.set_ylabel("rate", fontsize=9)
    below.set_ylim(bottom=0)
    below.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    below.set_xlabel("step", fontsize=9)
    below.set_xlim(0, steps[-1])
    for panel in (above, below):
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(labelsize=9)
        panel.grid(axis="y", linewidth=0.4, alpha=0.5)
        panel.set_axisbelow(True)
    return figure


def smooth(values: npt.NDArray[np.float64], window: int) -> npt.NDArray[np.float64]:
    """(N,) -> (N,): each the mean of the last ``window`` values up to it, of fewer at the beginning."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - window)
    return np.asarray((sums[ends] - sums[starts]) / (ends - starts))
