"""Which of a teacher's captions a release takes: those that are asked for now, and not refused for a flag."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from captionlake.lake import Lake
from captionlake.models.prompts import PromptSet
from captionlake.models.teacher.caption_table import accepted_captions, rows_to_caption
from captionlake.models.teacher.pending import dictionaries
from captionlake.models.teacher.request import canonical
from captionlake.models.teacher.teacher_config import TeacherConfig


def accepted(
    lake: Lake,
    items: pa.Table,
    config: TeacherConfig,
    prompts: PromptSet | str | Path,
    *,
    snapshot: int,
    refuse: Sequence[str] = (),
) -> pa.Table:
    """For each of ``items`` (source, source_key): its caption_id, null where it has none that is accepted, and ``refused``.

    Of several by the same prompt and parameters (``redo``) it is the newest without a flag of ``refuse``. ``refused`` has the flags of
    the newest where all have some; it is null where there is no caption.
    """
    told = prompts if isinstance(prompts, PromptSet) else PromptSet.read(prompts)
    rows = rows_to_caption(lake, items)
    hashes = [told.render(row).sha256 for row in dictionaries(rows)]
    asked = rows.select(["source", "source_key", "image_id"]).append_column(
        "prompt_sha256", pa.array(hashes, pa.string())
    )
    return accepted_captions(lake, asked, config.captions_by, canonical(config.params()), snapshot, refuse)
