"""LAION-400M's metadata: Parquet parts of addresses with alt texts, CLIP's similarity and a verdict on nudity.

Columns as in ``part-00000-….snappy.parquet``: SAMPLE_ID, URL, TEXT, HEIGHT, WIDTH, LICENSE (``?`` where unknown), NSFW, similarity.
The toy's numbers are made up.
"""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

_NSFW = ("UNLIKELY", "UNSURE", "NSFW")


def lay_out(folder: Path, urls: Sequence[str], *, parts: int = 1) -> list[Path]:
    """Write the addresses into ``parts`` files in ``folder``."""
    folder.mkdir(parents=True)
    rows = [
        {
            "SAMPLE_ID": 1_581_282_014_547 + number,
            "URL": url,
            "TEXT": f"Alt text {number} of a page",
            "HEIGHT": 48,
            "WIDTH": 64,
            "LICENSE": "cc-by-2.0" if number % 5 == 0 else "?",
            "NSFW": _NSFW[number % 3],
            "similarity": 0.3 + number % 7 / 100,
        }
        for number, url in enumerate(urls)
    ]
    written = []
    for part in range(parts):
        path = folder / f"part-{part:05d}-5b54c5d5-bbcf-484d-a2ce-0d6f73df1a36-c000.snappy.parquet"
        pq.write_table(pa.Table.from_pylist(rows[part::parts]), path, compression="snappy", row_group_size=50)
        written.append(path)
    return written
