"""Lakes with one release, written row by row: a plan, and what makes a lake of it."""

import hashlib
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from PIL import Image

from captionlake.lake import Lake
from captionlake.lake.locking import write_lock
from captionlake.lake.shards import ShardWriter, place_shard

RECIPE = """\
lake = "lake"

[embed]
model = "ViT-B-32"

[select]
seed = 7
where = "width >= 100 AND height >= 100"
duplicate_threshold = 0.95
keep_order = ["web", "coco"]
shortfall = "report"

[[select.quota]]
collection = "coco"
count = 5
[[select.quota]]
collection = "web"
count = 3
split = { landmark = 2, celebrity = 1 }
[[select.quota]]
collection = "album"
count = "all"

[card]
title = "Small test set"
language = "en"
"""


@dataclass(kw_only=True)
class Row:
    """One row of images, with its captions, and what became of it in the release (``reason`` None: it is in)."""

    key: str
    data: bytes
    source: str = "coco"
    collection: str = "coco"
    subset: str | None = None
    license: str | None = "CC-BY-4.0"
    author: str | None = "Ann Author"
    url: str | None = None
    captions: list[dict[str, Any]] = field(default_factory=list)
    split: str = "train"
    reason: str | None = None
    keeper: tuple[str, str] | None = None
    similarity: float | None = None


@dataclass(kw_only=True)
class Plan:
    """A whole lake with one release in it."""

    rows: list[Row]
    sources: list[dict[str, Any]]
    failures: list[dict[str, Any]] = field(default_factory=list)
    recipe: str = RECIPE
    name: str = "small"
    version: str = "1.0.0"
    kind: str = "images"


def caption(text: str, *, kind: str = "human", producer: str = "source", **columns: Any) -> dict[str, Any]:
    """A row of captions without its picture."""
    return {"text": text, "kind": kind, "producer": producer, "license": "CC-BY-4.0", **columns}


def source(name: str, collection: str, **columns: Any) -> dict[str, Any]:
    """A row of sources."""
    given = {"title": f"The {name} source", "homepage": f"https://example.org/{name}", "license": "CC-BY-4.0"}
    return {
        "source": name,
        "collection": collection,
        "redistribute": "bytes",
        "license_url": None,
        "citation": None,
        **given,
        **columns,
    }


def write_lake(path: Path, plan: Plan) -> Path:
    """The lake of a plan, its release committed after the snapshot that it pins."""
    with Lake.init(path) as lake:
        images, captions = _images(lake, plan.rows), _captions(plan.rows)
        _insert(
            lake, sources=plan.sources, images=images, captions=captions, fetch_failures=plan.failures, runs=[_run()]
        )
        _release(lake, plan, lake.snapshot())
    return path


_STAMPS = {
    "images": "ingested_at",
    "captions": "created_at",
    "fetch_failures": "failed_at",
    "runs": "created_at",
    "releases": "created_at",
}


def _insert(lake: Lake, **tables: list[dict[str, Any]]) -> None:
    """One transaction for all tables; its times are all the same day."""
    filled = {name: pa.Table.from_pylist(rows) for name, rows in tables.items() if rows}

    def change(connection: duckdb.DuckDBPyConnection) -> None:
        for name in filled:
            stamp = f", TIMESTAMPTZ '2025-03-04 05:06:07Z' AS {_STAMPS[name]}" if name in _STAMPS else ""
            connection.execute(f"INSERT INTO {name} BY NAME SELECT *{stamp} FROM _{name}")

    with lake.registered(**{f"_{name}": rows for name, rows in filled.items()}):
        lake.commit(change)


def _images(lake: Lake, rows: list[Row]) -> list[dict[str, Any]]:
    with lake.staging("test") as staging:
        writer = ShardWriter(staging / "shard.parquet")
        for row in rows:
            writer.add(hashlib.sha256(row.data).hexdigest(), row.data)
        places = writer.finish()
        with write_lock(lake.path):
            shard = place_shard(staging / "shard.parquet", lake.images)
    found = []
    for row, place in zip(rows, places, strict=True):
        with Image.open(io.BytesIO(row.data)) as image:
            columns = {"width": image.width, "height": image.height, "format": str(image.format)}
        found.append(
            columns
            | {"source": row.source, "source_key": row.key, "collection": row.collection, "subset": row.subset}
            | {"image_id": hashlib.sha256(row.data).hexdigest(), "url": row.url, "license": row.license}
            | {"author": row.author, "orientation": 1, "n_bytes": len(row.data), "phash": 0, "shard": shard}
            | {"row": place.row, "offset": place.offset}
        )
    return found


def _captions(rows: list[Row]) -> list[dict[str, Any]]:
    return [
        {
            "caption_id": f"{row.source}:{row.key}:{ordinal}",
            "image_id": hashlib.sha256(row.data).hexdigest(),
            "source": row.source,
            "source_key": row.key,
            "chars": len(text["text"]),
            "words": len(text["text"].split()),
            "producer_revision": None,
            "prompt_id": None,
            "input_tokens": None,
            "output_tokens": None,
            "cost_usd": None,
            **text,
        }
        for row in rows
        for ordinal, text in enumerate(row.captions)
    ]


def _run() -> dict[str, Any]:
    versions = {"captionlake": "0.1.0", "duckdb": "1.5.5", 'odd "name"': "<1>"}
    return {"run_id": "1", "step": "ingest", "versions": json.dumps(versions), "seconds": 1.5}


def _release(lake: Lake, plan: Plan, snapshot: int) -> None:
    chosen = sorted((row for row in plan.rows if row.reason is None), key=lambda row: (row.source, row.key))
    label = {"name": plan.name, "version": plan.version}
    items: list[dict[str, Any]] = [
        label
        | {"position": position, "source": row.source, "source_key": row.key, "split": row.split}
        | {"image_id": hashlib.sha256(row.data).hexdigest(), "row_sha256": hashlib.sha256(row.key.encode()).hexdigest()}
        for position, row in enumerate(chosen)
    ]
    captions = [
        label
        | {
            "position": position,
            "ordinal": ordinal,
            "caption_id": f"{row.source}:{row.key}:{ordinal}",
            "role": "caption",
        }
        for position, row in enumerate(chosen)
        for ordinal in range(len(row.captions))
    ]
    exclusions = [
        label
        | {
            "source": row.source,
            "source_key": row.key,
            "reason": row.reason,
            "similarity": row.similarity,
            "detail": None,
        }
        | {"keeper_source": (row.keeper or (None, None))[0], "keeper_key": (row.keeper or (None, None))[1]}
        for row in plan.rows
        if row.reason is not None
    ]
    header = label | {
        "kind": plan.kind,
        "snapshot_id": snapshot,
        "recipe": plan.recipe,
        "recipe_sha256": hashlib.sha256(plan.recipe.encode()).hexdigest(),
        "content_sha256": hashlib.sha256("".join(item["row_sha256"] for item in items).encode()).hexdigest(),
        "n_items": len(items),
        "state": "valid",
    }
    _insert(lake, releases=[header], release_items=items, release_captions=captions, exclusions=exclusions)
