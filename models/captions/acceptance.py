"""Which of a model's captions a release takes: those that are asked for now, and not refused for a flag."""

from collections.abc import Sequence

import pyarrow as pa

from captionlake.lake import Lake
from captionlake.models.captions.pending import Asking, dictionaries
from captionlake.models.captions.table import accepted_captions, rows_to_caption


def accepted(lake: Lake, items: pa.Table, asked: Asking, *, snapshot: int, refuse: Sequence[str] = ()) -> pa.Table:
    """For each of ``items`` (source, source_key): its caption_id, null where it has none that is accepted, and ``refused``.

    Of several by the same prompt and parameters (``redo``) it is the newest without a flag of ``refuse``. ``refused`` has the flags of
    the newest where all have some; it is null where there is no caption.
    """
    rows = rows_to_caption(lake, items)
    hashes = [asked.render(row).sha256 for row in dictionaries(rows)]
    keys = rows.select(["source", "source_key", "image_id"]).append_column(
        "prompt_sha256", pa.array(hashes, pa.string())
    )
    return accepted_captions(lake, keys, asked.captions_by, asked.params, snapshot, refuse)
