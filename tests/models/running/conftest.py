"""Checkpoints of random weights: a LLaVA (0.1 million) and a captioner (0.1 million). What they say means nothing."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from captionlake.models.checkpoint import CheckpointRecord, write_record
from captionlake.models.running import CheckpointCaptioner, GenerationConfig

from ..random_llava import save_random_llava

QUESTION = "Analyze the image."


@pytest.fixture(scope="session")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder without a record, as others' checkpoints are."""
    folder = tmp_path_factory.mktemp("llava") / "random-llava"
    save_random_llava(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_captioner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a record that names it "mine"."""
    from captionlake.models.captioner import build, train_tokenizer

    folder = tmp_path_factory.mktemp("captioner") / "tiny"
    model, processor = build("tiny", train_tokenizer(["A photograph of a cat on a mat, seen from above."], 320))
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    write_record(folder, record("mine", QUESTION))
    return folder


def record(name: str, question: str | None) -> CheckpointRecord:
    """As training writes one."""
    return CheckpointRecord(
        family="captioner", name=name, stage="captioner", template="share_captioner", question=question, release="made@1.0.0",
        content_sha256="0" * 64, recipe_sha256="1" * 64, recipe="", steps=1, samples=1,
    )  # fmt: skip


@pytest.fixture(params=["llava", "tiny_captioner"])
def either(request: pytest.FixtureRequest) -> Path:
    """Each family in turn."""
    folder = request.getfixturevalue(request.param)
    assert isinstance(folder, Path)
    return folder


@pytest.fixture
def copied(llava: Path, tmp_path: Path) -> Path:
    """A LLaVA to be damaged."""
    return Path(shutil.copytree(llava, tmp_path / "copied"))


Made = Callable[..., CheckpointCaptioner]


@pytest.fixture
def captioner() -> Made:
    """``captioner(folder, …)``: writes twelve tokens in fp32 on the processor unless told otherwise."""

    def make(folder: Path, **changes: Any) -> CheckpointCaptioner:
        settings: dict[str, Any] = {"max_tokens": 12, "precision": "fp32", "device": "cpu", **changes}
        return CheckpointCaptioner.find(folder, GenerationConfig(**settings))

    return make


def change_json(path: Path, **changes: Any) -> None:
    """Write some keys of a JSON file anew."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
