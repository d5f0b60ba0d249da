"""``takedown --like`` with a model loaded as it is everywhere, of RANDOM weights: the cosines are those of ``search --like``."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from captionlake.cli import captionlake
from captionlake.curation.embedding import embed
from captionlake.curation.model import EmbedConfig, load_model
from captionlake.curation.search import search_like
from captionlake.lake import Lake
from captionlake.lake.ingest import ingest
from captionlake.lake.ingest_config import IngestConfig

from .test_search import NAME


def test_a_file_from_outside_is_looked_for_by_the_model(
    lake: Lake, random_clip: Callable[..., Path], photographs: dict[str, bytes], tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    for name in ("chelsea-full", "coffee-full", "rocket-full"):
        (tmp_path / "in" / f"{name}.jpg").write_bytes(photographs[name])
    (tmp_path / "small.jpg").write_bytes(photographs["chelsea-small"])
    ingest(lake, IngestConfig(source="folder", inputs=[str(tmp_path / "in")]))
    config = EmbedConfig(model=NAME, pretrained=str(random_clip()), device="cpu")
    embed(lake, config)
    hits = search_like(lake, tmp_path / "small.jpg", model=load_model(config))
    named = [
        "--model",
        NAME,
        "--pretrained",
        str(random_clip()),
        "--device",
        "cpu",
        "--threshold",
        str(hits[0].score - 1e-9),
    ]
    command = [
        "takedown",
        "--like",
        str(tmp_path / "small.jpg"),
        *named,
        "--dry-run",
        "--json",
        "--lake",
        str(lake.path),
    ]
    result = CliRunner().invoke(captionlake, command)
    assert result.exit_code == 0, result.exception
    near = json.loads(result.stdout)["found"]["near"]
    assert [one["image_id"] for one in near] == [hit.image_id for hit in hits]
    assert [one["cosine"] for one in near] == pytest.approx([hit.score for hit in hits])
    assert [one["taken"] for one in near] == [hit.score >= hits[0].score - 1e-9 for hit in hits]
