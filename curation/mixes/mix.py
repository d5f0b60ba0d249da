"""A mix: the base without its detailed captions, with a release's captions in their places, as a release of kind ``sft``."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from captionlake.curation.mixes.detail import Detail, find_detail
from captionlake.curation.mixes.draw import Drawn, converse, draw, shorten
from captionlake.curation.mixes.mix_config import MixConfig
from captionlake.lake import Lake
from captionlake.lake.releases.config import ReleaseConfig
from captionlake.lake.runs import note_run
from captionlake.lake.sft.importing import MEMORY, import_conversations, is_imported
from captionlake.lake.sft.origins import ROW_OF, of_origin
from captionlake.lake.sft.paths import PART
from captionlake.lake.sft.sft_release import SftDraft, create_sft_release


@dataclass(frozen=True, slots=True)
class MixPart:
    """Rows of one part of the base, told by the pictures' paths: before, taken out, put in, after."""

    part: str
    before: int
    taken: int
    put: int
    after: int


@dataclass(slots=True)
class MixReport:
    """What a mix is made of. ``detail_listed``: rows of the file of detailed captions; ``detail_found``: of the base.

    ``quotas``: by name, how many captions were wanted (None: all) and are there. ``truncation``: producer, cap, cut, mean_chars.
    """

    release: str
    new: bool
    n_items: int
    content_sha256: str
    detail_listed: int
    detail_found: int
    quotas: dict[str, tuple[int | None, int]]
    truncation: dict[str, Any]
    bad: dict[str, int]  # rows of the base of the wrong shape, by reason, where it was imported now
    parts: list[MixPart] = field(default_factory=list)
    seconds: float = 0.0


def make_mix(
    lake: Lake, config: MixConfig, release: ReleaseConfig, recipe: str, tell: Callable[[str], None] = lambda _: None
) -> MixReport:
    """Import the base if it is not yet, draw, and write the release. Can be killed and run again: the same recipe makes the same rows."""
    started = time.monotonic()
    base = Path(config.base)
    bad: dict[str, int] = {}
    if not is_imported(lake, base):
        counts = import_conversations(lake, base)
        bad = counts.bad
        tell(
            f"{counts.rows:,} rows of {base.name}, {counts.added:,} new in the lake, {sum(bad.values()):,} of the wrong shape"
        )
    with lake.memory_limit(2 * MEMORY):
        detail = find_detail(lake, base.name, detail=_path(config.detail), questions=_path(config.questions))
        if config.detail or config.questions:
            tell(f"{len(detail.rows):,} detailed captions")
        drawn, cut, ids = Drawn([], {}), dict[str, Any](), list[str]()
        label = f"{release.name}@{release.version}"
        if config.replace is not None:
            drawn = draw(lake, config.replace, config.seed)
            if config.replace.truncate is not None:
                drawn, cut = shorten(lake, drawn, config.replace, label)
            ids = converse(lake, drawn, detail.questions, config.seed, label)
            tell(f"{len(ids):,} captions of {config.replace.captions} in their place")
        items = _items(lake, config, base.name, detail, ids)
        parts = _parts(lake, base.name, detail if config.replace is not None else Detail([], [], [], 0), ids)
    draft = SftDraft(config=release, recipe=recipe, snapshot=lake.snapshot(), items=items)
    made, new = create_sft_release(lake, draft)
    report = MixReport(
        release=made.label,
        new=new,
        n_items=made.n_items,
        content_sha256=made.content_sha256,
        detail_listed=detail.listed,
        detail_found=len(detail.rows),
        quotas=drawn.quotas,
        truncation=cut,
        bad=bad,
        parts=parts,
        seconds=round(time.monotonic() - started, 3),
    )
    if new:
        note_run(lake, "mix", target=made.label, detail={"base": base.name, "seed": config.seed}, counts=asdict(report))
    return report


def _path(name: str | None) -> Path | None:
    return None if name is None else Path(name)


def _items(lake: Lake, config: MixConfig, base: str, detail: Detail, ids: list[str]) -> pa.Table:
    """Position and conversation_id. What is put in takes the places of what is taken out, in order; the rest comes last."""
    frame = lake.sql(f"SELECT {ROW_OF} AS row, conversation_id FROM conversations WHERE {of_origin(base)}").pl()
    if config.replace is not None:
        frame = frame.filter(~pl.col("conversation_id").is_in(detail.conversation_ids))
        last = max(frame.select(pl.max("row")).item() or 0, *detail.rows)
        places = [*detail.rows[: len(ids)], *range(last + 1, last + 1 + len(ids) - len(detail.rows))]
        put = pl.DataFrame(
            {"row": places, "conversation_id": ids}, schema={"row": pl.Int64, "conversation_id": pl.String}
        )
        frame = pl.concat([frame, put])
    frame = frame.sort("row")
    if config.order == "shuffle":
        keys = [hashlib.sha256(f"{config.seed}:{id}".encode()).digest() for id in frame["conversation_id"]]
        frame = frame.with_columns(pl.Series("key", keys, pl.Binary)).sort("key")
    return frame.select(pl.int_range(pl.len(), dtype=pl.Int64).alias("position"), "conversation_id").to_arrow()


def _parts(lake: Lake, base: str, detail: Detail, ids: list[str]) -> list[MixPart]:
    taken = pa.table({"conversation_id": pa.array(detail.conversation_ids, pa.string())})
    put = pa.table({"conversation_id": pa.array(ids, pa.string())})
    query = (
        f"SELECT {PART} AS part, count_if({of_origin(base)}), count_if(conversation_id IN (SELECT conversation_id FROM _taken)), "
        f"count_if(conversation_id IN (SELECT conversation_id FROM _put)) FROM conversations "
        f"WHERE {of_origin(base)} OR conversation_id IN (SELECT conversation_id FROM _put) GROUP BY 1 ORDER BY 1"
    )
    with lake.registered(_taken=taken, _put=put):
        return [MixPart(part, n, out, added, n - out + added) for part, n, out, added in lake.rows(query)]
