"""Conceptual Captions (CC3M): ``Train_GCC-training.tsv``, a caption, a tab and an address a line, without a header.

Captions are lower-case words with names made general, spaced around punctuation.
"""

from collections.abc import Sequence
from pathlib import Path


def lay_out(folder: Path, urls: Sequence[str]) -> Path:
    """Write the list into ``folder``."""
    folder.mkdir(parents=True)
    path = folder / "Train_GCC-training.tsv"
    lines = [f"actor number {number} arrives at the premiere , smiling .\t{url}" for number, url in enumerate(urls)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
