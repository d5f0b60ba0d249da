"""``takedown --like`` by an embedding model: what looks like the picture is told, and goes only from a threshold up."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

from captionlake.cli import captionlake
from captionlake.lake import Lake
from captionlake.lake.ingest import ingest
from captionlake.lake.ingest_config import IngestConfig

N = 30


@pytest.fixture
def made(lake: Lake, tile_folder: Callable[[int], Path]) -> Path:
    """Thirty pictures with MADE-UP vectors: that of number n has the cosine 1 - n/100 with that of number 0."""
    ingest(lake, IngestConfig(source="folder", inputs=[str(tile_folder(N))], redistribute="bytes"))
    ids = [image_id for (image_id,) in lake.rows("SELECT image_id FROM images ORDER BY source_key")]
    cosines = 1 - np.arange(N) / 100
    vectors = np.stack([cosines, np.sqrt(1 - cosines**2)], axis=1).astype(np.float32)
    rows = {"image_id": ids, "model_id": ["made-up"] * N, "vector": vectors.tolist()}
    lake.append("embeddings", pa.table(rows), ["image_id", "model_id"])
    return lake.path


def run(lake: Path, *options: str) -> Any:
    return CliRunner().invoke(captionlake, ["takedown", *options, "--lake", str(lake)])


def test_what_a_model_finds_alike_is_told_with_its_cosine(made: Path, tmp_path: Path) -> None:
    file = tmp_path / "tiles/00000.jpg"
    shown = run(made, "--like", str(file), "--model-id", "made-up", "--dry-run")
    assert shown.exit_code == 0, shown.exception
    assert "take them with --within BITS, --threshold COSINE or --image-id" in shown.stdout
    assert "0.9900" in shown.stdout and "folder:00001.jpg" in shown.stdout
    found = json.loads(run(made, "--like", str(file), "--model-id", "made-up", "--dry-run", "--json").stdout)["found"]
    assert len(found["hashes"]["image_ids"]) == 1
    by_cosine = [one for one in found["near"] if one["cosine"] is not None]
    assert [one["source_key"] for one in by_cosine] == [f"{number:05d}.jpg" for number in range(1, 20)]
    assert not any(one["taken"] for one in found["near"])
    without = json.loads(run(made, "--like", str(file), "--dry-run", "--json").stdout)["found"]
    assert all(one["cosine"] is None for one in without["near"])


def test_from_a_threshold_up_they_go(made: Path, tmp_path: Path) -> None:
    """More than are told without one; off a terminal only with --yes."""
    named = ["--like", str(tmp_path / "tiles/00000.jpg"), "--threshold", "0.745"]
    found = json.loads(run(made, *named, "--dry-run", "--json").stdout)["found"]
    assert len(found["hashes"]["image_ids"]) == 26 and sum(one["taken"] for one in found["near"]) == 25
    assert "look at --dry-run, then give --yes" in str(run(made, *named, "--reason", "asked").exception)
    with Lake.open(made) as lake:
        assert lake.value("SELECT count(*) FROM images") == N
    done = run(made, *named, "--reason", "asked", "--yes")
    assert done.exit_code == 0 and "taken for their likeness" in done.stdout and "and 5 more" in done.stdout
    with Lake.open(made) as lake:
        left = [key for (key,) in lake.rows("SELECT source_key FROM images ORDER BY 1")]
        assert left == [f"{number:05d}.jpg" for number in range(26, N)]
        assert lake.value("SELECT count(*) FROM embeddings") == 4


def test_a_file_that_the_lake_has_not_needs_the_model(made: Path, tmp_path: Path) -> None:
    (tmp_path / "other.jpg").write_bytes((tmp_path / "tiles/00000.jpg").read_bytes() + b"\0")
    result = run(made, "--like", str(tmp_path / "other.jpg"), "--threshold", "0.9", "--dry-run")
    assert "give the --model and --pretrained" in str(result.exception)
    result = run(made, "--url", "http://host/a.jpg", "--threshold", "0.9", "--dry-run")
    assert result.exit_code == 2 and "give the file" in result.stderr
