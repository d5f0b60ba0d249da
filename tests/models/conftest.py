"""A lake of small photographs with texts, for captioning."""

import hashlib
import io
import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image

from captionlake.lake import Lake
from captionlake.lake.locking import write_lock
from captionlake.lake.shards import ShardWriter, place_shard
from captionlake.models.captions import rows_to_caption
from captionlake.models.teacher import TeacherConfig

Photographed = Callable[..., pa.Table]


@pytest.fixture
def photographed(lake: Lake, tiles: Callable[[int], list[bytes]]) -> Photographed:
    """``photographed(n)``: fills the lake with n pictures of collection ``coco``; returns the rows to caption."""

    def fill(count: int, pictures: list[bytes] | None = None, **columns: Any) -> pa.Table:
        store_pictures(lake, pictures or tiles(count), **columns)
        return rows_to_caption(lake)

    return fill


def store_pictures(lake: Lake, pictures: list[bytes], **columns: Any) -> None:
    """One shard of pictures, a row each."""
    ids = [hashlib.sha256(data).hexdigest() for data in pictures]
    with lake.staging("test") as staging:
        writer = ShardWriter(staging / "shard.parquet")
        for image_id, data in zip(ids, pictures, strict=True):
            writer.add(image_id, data)
        located = writer.finish()
        with write_lock(lake.path):
            shard = place_shard(staging / "shard.parquet", lake.images)
    rows = []
    for number, (image_id, data, at) in enumerate(zip(ids, pictures, located, strict=True)):
        with Image.open(io.BytesIO(data)) as image:
            width, height, form = image.width, image.height, image.format
        rows.append(
            {
                "source": "made",
                "source_key": f"{number:05d}",
                "collection": "coco",
                "image_id": image_id,
                "width": width,
                "height": height,
                "format": form,
                "orientation": 1,
                "n_bytes": len(data),
                "phash": 0,
                "shard": shard,
                "row": at.row,
                "offset": at.offset,
                "meta": json.dumps({}),
                **columns,
            }
        )
    with lake.registered(_new=pa.Table.from_pylist(rows)):
        lake.commit(
            lambda connection: connection.execute(
                "INSERT INTO images BY NAME SELECT *, now() AS ingested_at FROM _new"
            ).fetchone()
        )


@pytest.fixture
def teacher() -> Callable[..., TeacherConfig]:
    """A configuration for a server; priced as one dollar for a thousand tokens unless told otherwise."""

    def make(url: str, **changes: Any) -> TeacherConfig:
        return TeacherConfig(
            **{"model": "test-model", "base_url": url, "max_concurrency": 8, "timeout_s": 5.0, **changes}
        )

    return make
