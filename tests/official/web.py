"""Lists of web pictures, one a kind: CSV with the header ``url,name``, the name being the landmark's or the person's.

ShareGPT4V's own lists are not public; this is the form that the source ``web`` takes. The toy's names are made up.
"""

import csv
from collections.abc import Sequence
from pathlib import Path


def lay_out(folder: Path, kind: str, urls: Sequence[str]) -> Path:
    """Write ``KIND.csv`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{kind}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["url", "name"])
        writer.writerows([url, f"{kind.title()}, the «{number}th»"] for number, url in enumerate(urls))
    return path
