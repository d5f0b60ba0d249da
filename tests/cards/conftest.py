"""Releases written by hand, of real photographs, with texts that try to break out of a card."""

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image

from captionlake.cards.facts import Facts, collect
from captionlake.lake import Lake
from captionlake.lake.locking import write_lock
from captionlake.lake.shards import ShardWriter, place_shard

from .texts import HOSTILE

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
        _insert(lake, sources=plan.sources, images=_images(lake, plan.rows), captions=_captions(plan.rows))
        _insert(lake, fetch_failures=plan.failures, runs=[_run()])
        _release(lake, plan, lake.snapshot())
    return path


def _insert(lake: Lake, **tables: list[dict[str, Any]]) -> None:
    for name, rows in tables.items():
        if rows:
            with lake.registered(_rows=pa.Table.from_pylist(rows)):
                now = {
                    "images": "ingested_at",
                    "captions": "created_at",
                    "fetch_failures": "failed_at",
                    "runs": "created_at",
                    "releases": "created_at",
                }.get(name)
                stamp = f", TIMESTAMPTZ '2025-03-04 05:06:07Z' AS {now}" if now else ""
                query = f"INSERT INTO {name} BY NAME SELECT *{stamp} FROM _rows"
                lake.commit(lambda connection, query=query: connection.execute(query).fetchone())  # type: ignore[misc]


def _images(lake: Lake, rows: list[Row]) -> list[dict[str, Any]]:
    with lake.staging("test") as staging:
        writer = ShardWriter(staging / "shard.parquet")
        for row in rows:
            writer.add(hashlib.sha256(row.data).hexdigest(), row.data)
        places = writer.finish()
        with write_lock(lake.path):
            shard = place_shard(staging / "shard.parquet", lake.path / "images")
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


@pytest.fixture(scope="session")
def pictures() -> dict[str, bytes]:
    """Photographs of scikit-image and scikit-learn as small JPEGs, and one of them as PNG."""
    import skimage.data
    from sklearn.datasets import load_sample_image

    made: dict[str, bytes] = {}
    for name in ("astronaut", "chelsea", "coffee", "rocket", "camera", "moon", "coins", "brick"):
        made[name] = _encode(Image.fromarray(getattr(skimage.data, name)()), "JPEG")
    for name in ("china", "flower"):
        made[name] = _encode(Image.fromarray(load_sample_image(f"{name}.jpg")), "JPEG")
    made["rocket-png"] = _encode(Image.fromarray(getattr(skimage.data, "rocket")()), "PNG")
    return made


def _encode(picture: Image.Image, form: str) -> bytes:
    picture = picture.convert("RGB")
    picture.thumbnail((400, 400))
    buffer = io.BytesIO()
    picture.save(buffer, form)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def plain_plan(pictures: dict[str, bytes]) -> Plan:
    """Three collections, every reason to be left out, captions of three kinds; no text is hostile."""
    p = pictures
    return Plan(
        sources=[
            source("coco", "coco", citation="Lin and others, Microsoft COCO, 2014"),
            source(
                "web",
                "web",
                redistribute="urls",
                license="all rights reserved",
                license_url="https://example.org/terms",
            ),
            source("album", "album", license=None, title=None, homepage=None),
        ],
        rows=[
            Row(
                key="1",
                data=p["astronaut"],
                url="http://example.org/1.jpg",
                captions=[caption("An astronaut in an orange suit smiles in front of a flag."), caption("A portrait.")],
            ),
            Row(
                key="2",
                data=p["chelsea"],
                captions=[
                    caption("A tabby cat looks past the camera."),
                    caption(
                        "The cat's whiskers are white. " * 12,
                        kind="teacher",
                        producer="openai:gpt-4o",
                        license=None,
                        prompt_id="sharegpt4v",
                        input_tokens=1200,
                        output_tokens=90,
                        cost_usd=0.012,
                    ),
                ],
            ),
            Row(
                key="3",
                data=p["coffee"],
                author=None,
                split="test",
                captions=[caption("A cup of coffee on a wooden table.")],
            ),
            Row(key="4", data=p["rocket"], reason="duplicate", keeper=("web", "a"), similarity=0.97123),
            Row(key="5", data=p["china"], reason="over_quota", captions=[caption("A temple.")]),
            Row(
                key="a",
                data=p["rocket-png"],
                source="web",
                collection="web",
                subset="landmark",
                license=None,
                author=None,
                captions=[caption("Rocket on the pad", kind="alt")],
            ),
            Row(
                key="b",
                data=p["moon"],
                source="web",
                collection="web",
                subset="celebrity",
                license=None,
                captions=[caption("The Moon", kind="alt")],
            ),
            Row(
                key="c",
                data=p["brick"],
                source="web",
                collection="web",
                subset="landmark",
                license=None,
                reason="predicate",
            ),
            Row(
                key="x",
                data=p["flower"],
                source="album",
                collection="album",
                license="CC0-1.0",
                captions=[caption("A dahlia, close up, with yellow and red petals.", kind="alt", license=None)],
            ),
            Row(key="y", data=p["camera"], source="album", collection="album", license=None),
            Row(
                key="z",
                data=p["camera"],
                source="album",
                collection="album",
                license=None,
                reason="duplicate",
                keeper=("album", "y"),
                similarity=1.0,
            ),
        ],
        failures=[
            {
                "source": "web",
                "source_key": "d",
                "collection": "web",
                "reason": "not_found",
                "detail": "404",
                "attempts": 1,
            },
            {
                "source": "web",
                "source_key": "e",
                "collection": "web",
                "reason": "timeout",
                "detail": None,
                "attempts": 3,
            },
            {
                "source": "web",
                "source_key": "f",
                "collection": "web",
                "reason": "not_found",
                "detail": "404",
                "attempts": 1,
            },
        ],
    )


@pytest.fixture(scope="session")
def plain_lake(plain_plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lake of ``plain_plan``; tests read it only."""
    return write_lake(tmp_path_factory.mktemp("plain") / "lake", plain_plan)


@pytest.fixture(scope="session")
def plain_facts(plain_lake: Path) -> Facts:
    """The facts of ``plain_plan``'s release."""
    with Lake.open(plain_lake) as lake:
        return collect(lake, "small@1.0.0")


@pytest.fixture(scope="session")
def hostile_lake(pictures: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every text that a source or a model gives is hostile, the recipe too."""
    rows = [
        Row(
            key=f"{n}",
            data=data,
            source=HOSTILE[n % 3],
            collection=HOSTILE[(n + 1) % 3],
            subset=HOSTILE[n % len(HOSTILE)],
            author=HOSTILE[n % len(HOSTILE)],
            license=HOSTILE[(n + 2) % 5],
            url=HOSTILE[n % len(HOSTILE)],
            captions=[caption(HOSTILE[n % len(HOSTILE)], producer=HOSTILE[n % 4], kind=HOSTILE[n % 2], license=None)],
        )
        for n, data in enumerate(pictures.values())
    ]
    sources = [
        source(
            text,
            HOSTILE[0],
            title=text,
            homepage="javascript:alert(1)",
            license=text,
            license_url=f"https://e.example/>{text}",
            citation=text,
        )
        for text in HOSTILE[:3]
    ]
    failures = [
        {"source": HOSTILE[0], "source_key": t, "collection": t, "reason": t, "detail": t, "attempts": 1}
        for t in HOSTILE
    ]
    recipe = (
        RECIPE + "\n# " + "```\n# ".join(" ".join(t.split()) for t in HOSTILE if "\x00" not in t) + "\n# </details>\n"
    )
    plan = Plan(rows=rows, sources=sources, failures=failures, recipe=recipe)
    return write_lake(tmp_path_factory.mktemp("hostile") / "lake", plan)


@pytest.fixture
def lake_of(tmp_path: Path) -> Callable[[Plan], Iterator[Lake]]:
    """``lake_of(plan)``: its lake, open; close it after."""

    def make(plan: Plan) -> Lake:
        return Lake.open(write_lake(tmp_path / "lake", plan))

    return make  # type: ignore[return-value]
