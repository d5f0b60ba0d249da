"""Benchmarks' files in their official forms, of small crops of photographs; the scores that come of them mean nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ...official import benchmarks as official
from ..random_llava import save_random_llava


@pytest.fixture(scope="session")
def pictures(tiles: Callable[[int], list[bytes]]) -> dict[str, bytes]:
    return {f"tile{number}": data for number, data in enumerate(tiles(4))}


@pytest.fixture(scope="session")
def random_llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaVA of RANDOM weights."""
    folder = tmp_path_factory.mktemp("models") / "random-llava"
    save_random_llava(folder)
    return folder


@pytest.fixture
def bench(tmp_path: Path, pictures: dict[str, bytes]) -> dict[str, Path]:
    """All benchmarks, by the names of ``--benchmark``."""
    return {
        "mme": official.mme(tmp_path / "MME", pictures),
        "mmbench": official.mmbench(tmp_path / "MMBench_DEV_EN.tsv", pictures),
        "seed": official.seed_bench(tmp_path / "SEED", pictures),
        "mm-vet": official.mm_vet(tmp_path / "mm-vet", pictures),
        "llava-w": official.llava_wild(tmp_path / "llava-w", pictures),
        "pope": official.pope(tmp_path / "pope", pictures),
    }
