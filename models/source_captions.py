"""Captioners whose texts the sources brought, and ingest wrote; nothing is generated."""

from dataclasses import dataclass

import pyarrow as pa

from captionlake.lake import Lake


@dataclass(slots=True)
class CaptionCounts:
    """Captions there are for the rows chosen; ``mean_chars`` is per caption."""

    rows: int
    captioned: int
    captions: int
    mean_chars: float


def count_source_captions(lake: Lake, items: pa.Table, snapshot: int, producer: str) -> CaptionCounts:
    """How many of the rows (columns ``source``, ``source_key``) have captions by ``producer``, and how long these are."""
    with lake.registered(_items=items):
        captioned, captions, mean = lake.rows(
            "SELECT count(DISTINCT (source, source_key)), count(*), coalesce(avg(chars), 0) "
            f"FROM captions AT (VERSION => {snapshot:d}) JOIN _items USING (source, source_key) WHERE producer = ?",
            [producer],
        )[0]
    return CaptionCounts(items.num_rows, captioned, captions, round(mean, 1))
