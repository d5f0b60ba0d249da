"""Training from a recipe to a checkpoint's folder, with models of random weights: what is trained, kept, skipped and refused."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.models.checkpoint import RECORD, read_record, weights_sha256
from captionlake.models.data import ReleaseData
from captionlake.models.memory import out_of_memory
from captionlake.models.parts import parts_of
from captionlake.models.running.loading import Checkpoint
from captionlake.models.training import Stage
from captionlake.models.training.log_file import read_log
from captionlake.models.training.run import _advice, train
from captionlake.models.training.starting import start
from captionlake.train_recipe import load_train_recipe

Recipe = Callable[..., Path]
SFT = {"release": "mix@1.0.0"}
SHORT = {"max_steps": 2, "save_every": 2}


def before(path: Path, stage: Stage) -> dict[str, torch.Tensor]:
    """The weights that a run begins with."""
    job = load_train_recipe(path, stage)
    model, _ = start(job, ReleaseData.open(job.lake, job.data.release))
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def changed(path: Path, stage: Stage, output: Path) -> set[str]:
    """Parts that are others than those the run began with."""
    old, model = before(path, stage), Checkpoint.load(output, device="cpu", precision="fp32").model
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    parts = parts_of(model).items()
    return {part for part, own in parts if any(not parameter.equal(old[names[id(parameter)]]) for parameter in own)}


@pytest.mark.parametrize(
    ("stage", "data", "trained", "parts"),
    [
        ("captioner", {}, None, {"vision", "vision.0", "vision.1", "sampler", "projector", "language"}),
        (
            "pretrain",
            {},
            ["vision:1-", "projector", "language"],
            {"vision", "vision.1", "vision.2", "projector", "language"},
        ),
        ("sft", SFT, None, {"projector", "language"}),
    ],
)
def test_a_stage(
    stage: Stage, data: dict[str, Any], trained: list[str] | None, parts: set[str], recipe: Recipe, training_lake: Path
) -> None:
    path = recipe(stage, data=data, model={"trained": trained})
    report = train(load_train_recipe(path, stage))
    assert report.loss is not None and report.loss[1] < report.loss[0]
    assert changed(path, stage, report.output) == parts

    record = read_record(report.output)
    assert record is not None
    assert (record.name, record.stage, record.steps, record.samples) == (stage, stage, report.steps, report.steps * 8)
    with Lake.open(training_lake) as lake:
        [(content,)] = lake.rows(
            "SELECT content_sha256 FROM releases WHERE name = ?", [record.release.partition("@")[0]]
        )
    assert record.content_sha256 == content
    assert record.recipe == path.read_text()
    assert str(path.parent) not in json.dumps(record.hyper)  # nothing of this machine but what the recipe says
    assert (record.question is None) == (stage == "pretrain")  # its template drops it
    assert len(weights_sha256(report.output)) == 64
    assert not list(report.output.rglob("training_args.bin"))

    lines = read_log(report.output / "log.csv")
    assert [line.step for line in lines] == list(range(1, report.steps + 1))
    assert (report.output / "loss.png").exists() and list((report.output / "tensorboard").iterdir())
    assert train(load_train_recipe(path, stage)).new is False


def test_a_checkpoint_goes_on_at_another_stage_and_resolution(recipe: Recipe) -> None:
    train(load_train_recipe(recipe("first", train=SHORT), "captioner"))
    path = recipe("second", model={"size": None, "start": "first", "image_size": 48}, train=SHORT)
    second = train(load_train_recipe(path, "captioner"))
    loaded = Checkpoint.load(second.output, device="cpu", precision="fp32")
    assert loaded.model.config.vision_config.image_size == 48
    record = read_record(second.output)
    assert record is not None and record.start == "first"
    with pytest.raises(CaptionlakeError, match=r"type share_captioner, not llava: it is for  train captioner"):
        train(load_train_recipe(recipe("third", model={"size": None, "start": "first"}), "sft"))


@pytest.mark.parametrize("merge", [True, False])
def test_lora(merge: bool, recipe: Recipe) -> None:
    path = recipe("lora", data=SFT, lora={"rank": 4, "merge": merge}, train={**SHORT, "lr": 1e-2, "precision": "bf16"})
    report = train(load_train_recipe(path, "sft"))
    assert report.trained == 2112 + 4352 and report.trained < report.parameters / 10
    assert changed(path, "sft", report.output) >= {"projector"}
    old = before(path, "sft")
    model = Checkpoint.load(report.output, device="cpu", precision="fp32").model
    name = "model.language_model.layers.0.self_attn.q_proj.weight"
    moved = (model.state_dict()[name] - old[name]).abs().max()
    rounding = old[name].abs().max() / 128  # the frozen weights are read in bf16
    if merge:
        assert moved > 1e-3 and not (report.output / "adapter").exists()
    else:
        assert moved <= rounding
        ids = torch.arange(20, 40)[None]
        plain = model(input_ids=ids).logits
        adapted = PeftModel.from_pretrained(model, report.output / "adapter")  # by peft's own reading
        assert (adapted(input_ids=ids).logits - plain).abs().max() > 1e-3
    assert torch.load(report.output / "steps" / "checkpoint-2" / "optimizer.pt", weights_only=True)["state"]


def test_a_target_of_lora_that_is_none(recipe: Recipe) -> None:
    with pytest.raises(CaptionlakeError, match=r"targets qkv, .* it has down_proj, gate_proj"):
        train(load_train_recipe(recipe(data=SFT, lora={"targets": ["qkv"]}), "sft"))


def test_the_tower_can_learn_at_a_rate_of_its_own(recipe: Recipe) -> None:
    """AdamW's first step moves each weight by its rate, whatever the gradient."""
    trained = ["vision:1-", "projector", "language"]
    path = recipe(
        model={"trained": trained, "vision_lr": 1e-5},
        train={**SHORT, "max_steps": 1, "schedule": "constant", "warmup_ratio": 0.0},
    )
    report = train(load_train_recipe(path, "pretrain"))
    old = before(path, "pretrain")
    model = Checkpoint.load(report.output, device="cpu", precision="fp32").model
    moves = {name: (new - old[name]).abs().max().item() for name, new in model.state_dict().items()}
    assert moves["model.vision_tower.encoder.layers.1.mlp.fc1.weight"] == pytest.approx(1e-5, rel=0.05)
    assert moves["model.language_model.layers.0.mlp.up_proj.weight"] == pytest.approx(1e-3, rel=0.05)
    assert moves["model.vision_tower.encoder.layers.0.mlp.fc1.weight"] == 0


def damage(lake: Path, key: str) -> int:
    """Spoil a picture's bytes in its shard. Returns its position in the release."""
    with Lake.open(lake) as opened:
        [(shard, offset, position)] = opened.rows(
            'SELECT shard, "offset", position FROM images JOIN release_items USING (source, source_key) '
            "WHERE name = 'tiles' AND source_key = ?",
            [key],
        )
    with (lake / "images" / shard).open("r+b") as file:
        file.seek(offset + 100)
        file.write(b"\0" * 64)
    return int(position)


def test_a_damaged_picture_in_the_middle_is_skipped_and_counted(
    recipe: Recipe, training_lake: Path, tmp_path: Path
) -> None:
    shutil.copytree(training_lake, tmp_path / "lake")
    position = damage(tmp_path / "lake", "00007.jpg")
    path = recipe(train={**SHORT, "max_steps": 3, "workers": 2})
    job = replace(load_train_recipe(path, "captioner"), lake=tmp_path / "lake")
    report = train(job)
    assert report.skipped == {"damaged": 1} and report.steps == 3
    [skip] = [json.loads(line) for line in (report.output / "skipped.jsonl").read_text().splitlines()]
    assert skip["position"] == position


def test_a_release_that_does_not_verify_is_refused(recipe: Recipe, training_lake: Path, tmp_path: Path) -> None:
    shutil.copytree(training_lake, tmp_path / "lake")
    with Lake.open(tmp_path / "lake") as lake:
        lake.commit(lambda c: c.execute("UPDATE captions SET text = 'Another' WHERE source_key = '00003.jpg'"))
    job = replace(load_train_recipe(recipe(), "captioner"), lake=tmp_path / "lake")
    with pytest.raises(CaptionlakeError, match=r"tiles@1.0.0 does not verify"):
        train(job)
    assert not job.output.exists()


def test_a_loss_that_is_no_number_stops_before_the_weights_are_spoilt(recipe: Recipe) -> None:
    """Weights of a checkpoint that overflow: the loss of the first step is none."""
    start_from = train(load_train_recipe(recipe("start", train=SHORT), "captioner")).output
    weights = load_file(start_from / "model.safetensors")
    weights["projector.weight"][:] = float("inf")
    save_file(weights, start_from / "model.safetensors", metadata={"format": "pt"})
    path = recipe("broken", model={"size": None, "start": "start"})
    with pytest.raises(
        CaptionlakeError, match=r"the loss of step 1 is no number, with rows ([\d, ]+) of tiles@1.0.0"
    ) as error:
        train(load_train_recipe(path, "captioner"))
    rows = [int(row) for row in str(error.value).partition("with rows ")[2].partition(" of ")[0].split(", ")]
    assert len(rows) == 8  # of the whole step, micro-batch by micro-batch
    first = np.random.default_rng([0, 0]).permutation(24)[:8]
    assert rows == sorted(first.tolist())
    assert not list((path.parent / "broken" / "steps").glob("*"))


def test_another_run_in_the_same_folder(recipe: Recipe) -> None:
    first = train(load_train_recipe(recipe("run", train=SHORT), "captioner"))
    other = recipe("run", train={**SHORT, "lr": 2e-3})
    with pytest.raises(CaptionlakeError, match=r"`lr` in \[train\] is 0.002 and was 0.001.*--restart"):
        train(load_train_recipe(other, "captioner"))
    assert read_record(first.output) is not None
    second = train(load_train_recipe(other, "captioner"), restart=True)
    assert second.new and second.resumed_at is None
    assert [line.step for line in read_log(second.output / "log.csv")] == [1, 2]


def test_a_checkpoint_of_others_is_not_overwritten(recipe: Recipe) -> None:
    job = load_train_recipe(recipe(), "captioner")
    job.output.mkdir()
    (job.output / "config.json").write_text("{}")
    with pytest.raises(CaptionlakeError, match="holds a checkpoint that was not trained here: name another `output`"):
        train(job)
    assert [path.name for path in job.output.iterdir()] == ["config.json"]


def test_a_state_of_other_weights_is_refused(recipe: Recipe) -> None:
    path = recipe(train={**SHORT, "max_steps": 4})
    output = train(load_train_recipe(path, "captioner")).output
    (output / RECORD).unlink()
    shutil.rmtree(output / "steps" / "checkpoint-4")
    file = output / "steps" / "checkpoint-2" / "model.safetensors"
    save_file({name: tensor for name, tensor in load_file(file).items() if "sampler" not in name}, file)
    with pytest.raises(CaptionlakeError, match=r"other weights than the model .*--restart"):
        train(load_train_recipe(path, "captioner"))


def test_a_limit_that_leaves_nothing_to_learn(recipe: Recipe) -> None:
    """The template's system prompt alone is longer; told by a worker's process, in one line all the same."""
    path = recipe(data={**SFT, "max_length": 16}, train={"workers": 1})
    with pytest.raises(CaptionlakeError, match=r"no token of an answer lies within the limit of 16 tokens") as error:
        train(load_train_recipe(path, "sft"))
    assert "\n" not in str(error.value)


def test_more_memory_than_there_is(recipe: Recipe) -> None:
    job = load_train_recipe(recipe(train={"gradient_checkpointing": False}), "captioner")
    with (
        pytest.raises(CaptionlakeError, match="out of memory: set gradient_checkpointing = true, or lower per_device"),
        out_of_memory(_advice(job, 1)),
    ):
        torch.empty(1 << 50)
    with pytest.raises(RuntimeError, match=r"shapes cannot"), out_of_memory(_advice(job, 1)):
        torch.ones(2, 3) @ torch.ones(2, 3)
