"""Lakes with rows or with real photographs, and a tiny CLIP of random weights."""

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pytest

from captionlake.lake import Lake
from captionlake.lake.locking import write_lock
from captionlake.lake.shards import ShardWriter, place_shard

RowMaker = Callable[..., None]

_DEFAULTS: dict[str, Any] = {
    "source": "made",
    "collection": "web",
    "subset": None,
    "width": 640,
    "height": 480,
    "format": "jpeg",
    "orientation": 1,
    "n_bytes": 1,
    "phash": 0,
    "shard": "none",
    "row": 0,
    "offset": 0,
}


@pytest.fixture
def add_rows() -> RowMaker:
    """Adds rows of images without pictures; image_id is the SHA-256 of ``image`` or, without it, of the key."""

    def add(lake: Lake, rows: list[dict[str, Any]]) -> None:
        full = []
        for row in rows:
            given = {**_DEFAULTS, **row}
            image = given.pop("image", f"{given['source']}/{given['source_key']}")
            full.append({"image_id": hashlib.sha256(image.encode()).hexdigest(), **given})
        frame = pl.DataFrame(full, infer_schema_length=None).with_columns(pl.col("phash").cast(pl.UInt64))
        with lake.registered(_new=frame.to_arrow()):
            lake.commit(
                lambda connection: connection.execute(
                    "INSERT INTO images BY NAME SELECT *, now() AS ingested_at FROM _new"
                ).fetchone()
            )

    return add


@pytest.fixture
def add_vectors() -> Callable[[Lake, str, list[str], npt.NDArray[np.float32]], None]:
    """Adds embeddings by model ``model_id``."""

    def add(lake: Lake, model_id: str, ids: list[str], vectors: npt.NDArray[np.float32]) -> None:
        column = pa.array(list(vectors), pa.list_(pa.float32()))
        table = pa.table({"image_id": ids, "model_id": [model_id] * len(ids), "vector": column})
        lake.append("embeddings", table, ["image_id", "model_id"])

    return add


@pytest.fixture(scope="session")
def photographs() -> dict[str, bytes]:
    """Photographs that scikit-image ships, each also as a smaller JPEG of lower quality: a near-duplicate."""
    import skimage.data
    from PIL import Image

    made: dict[str, bytes] = {}
    for name in ("astronaut", "camera", "chelsea", "coffee", "rocket"):
        picture = Image.fromarray(getattr(skimage.data, name)()).convert("RGB")
        for label, side, quality in (("full", 256, 92), ("small", 192, 70)):
            copy = picture.copy()
            copy.thumbnail((side, side))
            buffer = io.BytesIO()
            copy.save(buffer, "JPEG", quality=quality)
            made[f"{name}-{label}"] = buffer.getvalue()
    return made


@pytest.fixture
def add_pictures(add_rows: RowMaker) -> Callable[..., list[str]]:
    """Stores pictures in one shard, a row of images each; returns their ids in order."""

    def add(lake: Lake, pictures: dict[str, bytes], **columns: Any) -> list[str]:
        from PIL import Image

        ids = [hashlib.sha256(data).hexdigest() for data in pictures.values()]
        with lake.staging("test") as staging:
            writer = ShardWriter(staging / "shard.parquet")
            for image_id, data in zip(ids, pictures.values(), strict=True):
                writer.add(image_id, data)
            located = writer.finish()
            with write_lock(lake.path):
                shard = place_shard(staging / "shard.parquet", lake.images)
        rows = []
        for (key, data), image_id, at in zip(pictures.items(), ids, located, strict=True):
            width, height = Image.open(io.BytesIO(data)).size
            place = {"shard": shard, "row": at.row, "offset": at.offset, "n_bytes": at.n_bytes}
            size = {"width": width, "height": height}
            rows.append({"source_key": key, "image_id": image_id, "image": key, **size, **place, **columns})
        add_rows(lake, rows)
        return ids

    return add


def _save_random_clip(folder: Path, seed: int, size: int) -> Path:
    import open_clip
    import torch
    from safetensors.torch import save_file

    vision = {"image_size": size, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8}
    text = {"context_length": 8, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    architecture = {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = open_clip.model.CLIP(**architecture)
    folder.mkdir(parents=True)
    save_file(network.state_dict(), folder / "open_clip_model.safetensors")
    preprocessing = {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28], "interpolation": "bicubic"}
    document = {"model_cfg": architecture, "preprocess_cfg": preprocessing}
    (folder / "open_clip_config.json").write_text(json.dumps(document))
    return folder


@pytest.fixture(scope="session")
def random_clip(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A folder as open_clip saves a model: the smallest ViT, with RANDOM weights. Its vectors mean nothing."""
    made: dict[tuple[int, int], Path] = {}

    def folder(seed: int = 0, size: int = 32) -> Path:
        if (seed, size) not in made:
            root = tmp_path_factory.mktemp("clip")
            made[seed, size] = _save_random_clip(root / f"random-weights-{seed}-{size}", seed, size)
        return made[seed, size]

    return folder
