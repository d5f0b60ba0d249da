"""What an embed run would take: pictures, hours and bytes, before it starts."""

import json
import time
from contextlib import closing
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

from captionlake.curation.embedding import run_detail
from captionlake.curation.encoder import Encoder
from captionlake.curation.encoding import Encoding
from captionlake.curation.model import EmbedConfig, load_model
from captionlake.lake import Lake

SAMPLE = 64  # pictures that are encoded to measure the rate


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbedPlan:
    """``pending`` of ``images`` distinct pictures would be embedded, ``rate`` a second, into ``vector_bytes``.

    ``rate`` is None where nothing is pending and no run is known. The bytes are those of the vectors' numbers; Parquet
    and the ids add some percent.
    """

    model_id: str
    images: int
    present: int
    pending: int
    rate: float | None
    rate_from: Literal["last run", "measured"] | None
    hours: float
    vector_bytes: int


def plan_embedding(lake: Lake, config: EmbedConfig, *, model: Encoder | None = None) -> EmbedPlan:
    """Count what is pending, and take the rate of the last run of the same model, device and batches, or measure it.

    Nothing is written. Measuring encodes the first pending pictures, at most ``SAMPLE``, after one for warming up.
    """
    model = model or load_model(config)
    shards = lake.rows(_sql("pending_shards"), [model.model_id])
    pending = sum(count for _, count in shards)
    images = int(lake.value("SELECT count(DISTINCT image_id) FROM images"))
    rate_from: Literal["last run", "measured"] | None = "last run"
    found = _last_run(lake, config, model)
    if found is None and pending:
        rate_from, found = "measured", _measured(lake, config, model, [shard for shard, _ in shards[:1]])
    rate, dimensions = found or (None, 0)
    return EmbedPlan(
        model_id=model.model_id,
        images=images,
        present=images - pending,
        pending=pending,
        rate=rate,
        rate_from=rate_from if rate else None,
        hours=pending / rate / 3600 if rate else 0.0,
        vector_bytes=pending * dimensions * 4,
    )


def _last_run(lake: Lake, config: EmbedConfig, model: Encoder) -> tuple[float, int] | None:
    """Rate and dimensions of the last run with the same settings."""
    query = "SELECT detail, counts FROM runs WHERE step = 'embed' AND target = ? ORDER BY created_at DESC"
    wanted = run_detail(config, model)
    for detail, counts in lake.rows(query, [model.model_id]):
        told = json.loads(detail)
        if {key: told.get(key) for key in wanted} == wanted:
            return float(json.loads(counts)["rate"]), int(told["dimensions"])
    return None


def _measured(lake: Lake, config: EmbedConfig, model: Encoder, shards: list[str]) -> tuple[float, int]:
    ids = [row for (row,) in lake.rows(_sql("pending_images"), [shards, model.model_id])][:SAMPLE]
    data = list(lake.pictures(ids))
    with closing(Encoding(model, batch_size=config.batch_size, threads=config.threads)) as encoding:
        list(encoding.run(data[:1]))
        started = time.monotonic()
        made = [vectors for _, vectors in encoding.run(data)]
        seconds = time.monotonic() - started
    return len(data) / seconds, int(made[0].shape[1])


def _sql(name: str) -> str:
    return files("captionlake.curation").joinpath(f"sql/{name}.sql").read_text()
