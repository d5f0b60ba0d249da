"""A model is published with its weights, its tokenizer, its record and its card, and loads from there. Its weights are random."""

import json
from pathlib import Path

import pytest

from captionlake.models.checkpoint import CheckpointRecord, write_record

from .client import Client
from .hub_server import HubServer

REPO = "someone/captioner"
LOADED = """
import hashlib, json
from pathlib import Path
from huggingface_hub import snapshot_download
folder = Path(snapshot_download("someone/captioner", revision="v1.0.0"))
print(json.dumps({path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}))
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest captioner, as training leaves it: with its record, and with what it would go on from."""
    from captionlake.models.captioner import build, train_tokenizer

    folder = tmp_path_factory.mktemp("models") / "tiny"
    model, processor = build("tiny", train_tokenizer(["A photograph of a cat on a mat, seen from above."], 320))
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    record = CheckpointRecord(
        family="captioner", name="tiny-captioner", stage="captioner", template="share_captioner", question="What is it?",
        release="made@1.0.0", content_sha256="0" * 64, recipe_sha256="1" * 64, recipe="", steps=1, samples=1,
    )  # fmt: skip
    write_record(folder, record)
    (folder / "steps" / "checkpoint-1").mkdir(parents=True)
    for name in (
        "steps/checkpoint-1/model.safetensors",
        "optimizer.safetensors",
        "trainer_state.json",
        "scheduler.json",
    ):
        (folder / name).write_bytes(b"{}")
    (folder / "training_args.bin").write_bytes(b"pickled")
    (folder / "notes.py").write_text("print()")
    return folder


def test_a_model_is_published_once_and_loads(hub: HubServer, client: Client, checkpoint: Path) -> None:
    assert "add --tag" in client.run("publish", checkpoint, REPO).error
    assert "no such folder" in client.run("publish", checkpoint / "no", REPO, "--tag", "v1.0.0").error
    assert "semantic version" in client.run("publish", checkpoint, REPO, "--tag", "latest").error
    assert not hub.repos
    given = ("publish", checkpoint, REPO, "--tag", "v1.0.0", "--private", "--json")
    done = client.run(*given).json
    repo = hub.repos[f"models/{REPO}"]
    assert done["state"] == "published" and repo.private and repo.tags == {"v1.0.0": repo.branches["main"]}
    assert repo.branches.keys() == {"main"} and b"tiny-captioner" in repo.files("main")["README.md"].data
    own = {p.name for p in checkpoint.iterdir() if p.suffix in (".json", ".jinja", ".safetensors")}
    own -= {"optimizer.safetensors", "trainer_state.json", "scheduler.json"}
    assert repo.files("main").keys() == own | {
        ".gitattributes",
        "README.md",
        "facts.json",
        "captionlake-publication.json",
    }
    loaded = client.run(code=LOADED).json
    assert loaded.keys() == repo.files("main").keys()
    assert json.loads(repo.files("main")["captionlake.json"].data)["name"] == "tiny-captioner", "the record stays one"
    assert client.run(*given).json["state"] == "already published"


def test_another_model_does_not_take_its_tag(hub: HubServer, client: Client, checkpoint: Path, tmp_path: Path) -> None:
    import shutil

    given = ("--tag", "v1.0.0", "--json")
    client.run("publish", checkpoint, REPO, *given)
    other = Path(shutil.copytree(checkpoint, tmp_path / "other"))
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"note": "changed"}))
    assert "is there with other content" in client.run("publish", other, REPO, *given).error
    assert client.run("publish", other, REPO, "--tag", "v1.1.0", "--json").json["same"] > 0
    assert hub.repos[f"models/{REPO}"].tags.keys() == {"v1.0.0", "v1.1.0"}
    whole = (other / "model.safetensors").read_bytes()
    (other / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    assert "is not whole" in client.run("publish", other, REPO, "--tag", "v1.2.0", "--json").error
