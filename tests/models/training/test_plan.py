"""Plans: parameters as they are, operations as torch counts them, the paper's runs, and no weight loaded."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch.utils.flop_counter import FlopCounterMode

from captionlake.cli import captionlake
from captionlake.models.data import ReleaseData
from captionlake.models.parts import freeze_all_but, parts_of
from captionlake.models.training import Stage
from captionlake.models.training.costs import sample_flops, shapes_of
from captionlake.models.training.plan import Plan, model_on_meta, plan, plan_for
from captionlake.models.training.run import train
from captionlake.models.training.starting import start
from captionlake.train_recipe import load_train_recipe

Recipe = Callable[..., Path]
RECIPES = Path(__file__).parents[3] / "recipes"
A100 = {"gpus": 16, "gpu": "a100-80g", "utilisation": 0.25}


@pytest.mark.parametrize("lora", [None, {"rank": 4}])
def test_parameters_are_those_of_the_model(lora: dict[str, Any] | None, recipe: Recipe, tmp_path: Path) -> None:
    """Of a checkpoint whose weights are gone: the plan does not look at them."""
    output = train(load_train_recipe(recipe("first", train={"max_steps": 1}), "captioner")).output
    job = load_train_recipe(recipe("second", model={"size": None, "start": "first"}, lora=lora), "captioner")
    model, _ = start(job, ReleaseData.open(job.lake, job.data.release))
    if lora:
        from captionlake.models.training.lora import add_lora

        assert job.lora is not None
        add_lora(model, job.lora)
    real = {
        part: (sum(p.numel() for p in own), sum(p.numel() for p in own if p.requires_grad))
        for part, own in parts_of(model).items()
        if "." not in part
    }
    weights = output / "model.safetensors"
    content = weights.read_bytes()
    length = int.from_bytes(content[:8], "little")
    weights.write_bytes(
        content[: 8 + length] + bytes(len(content) - 8 - length)
    )  # the header as it was, the numbers gone
    made = plan(job, gpus=1, gpu="h100", utilisation=0.5)
    assert {part.name: (part.parameters, part.trained) for part in made.parts} == real
    assert (made.samples, made.steps, made.image_tokens, made.tokens_from[:9]) == (24, 6, 6, "tokenized")
    assert made.memory_gib["optimiser"] * 2**30 == 8 * made.trained


@pytest.mark.parametrize("trained", [["projector", "language"], ["vision:6-", "projector", "language"]])
def test_operations_are_those_that_torch_counts(trained: list[str], recipe: Recipe) -> None:
    """Of a LLaVA on the meta device, small enough to be counted at once and large enough that its blocks are most of it."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=256,
            intermediate_size=1024,
            num_hidden_layers=12,
            num_attention_heads=4,
            image_size=224,
            patch_size=14,
        ),
        text_config=LlamaConfig(
            hidden_size=512, intermediate_size=1376, num_hidden_layers=8, num_attention_heads=8, vocab_size=2048
        ),
        image_token_index=2047,
        image_seq_length=256,
        vision_feature_layer=-1,
        attn_implementation="eager",
    )
    model = LlavaForConditionalGeneration._from_config(config, attn_implementation="eager")
    freeze_all_but(model, trained)
    text, rows = 100, 2
    ids = torch.randint(0, 2000, (rows, 256 + text))
    ids[:, :256] = 2047
    pixels = torch.zeros(rows, 3, 224, 224)
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids, pixel_values=pixels, labels=ids).loss.backward()
    ours = sample_flops(shapes_of(model, text_tokens=text), checkpointing=False) * rows
    assert ours == pytest.approx(counter.get_total_flops(), rel=0.05)


def papers(stage: Stage, samples: int, tokens: float) -> Plan:
    job = load_train_recipe(RECIPES / f"train-{stage}.toml", stage)
    return plan_for(job, samples=samples, tokens=tokens, **A100)


def test_the_papers_lmm() -> None:
    made = papers("pretrain", 1_246_901, 200)
    assert {part.name: round(part.parameters / 1e6) for part in made.parts} == {
        "vision": 304,
        "projector": 21,
        "language": 6739,
    }
    vision = next(part for part in made.parts if part.name == "vision")
    assert vision.trained == 11 * 12_596_224  # blocks 12 to 22 of 24: the last lies behind the feature layer
    assert (made.steps, made.accumulation, made.image_tokens) == (4_871, 1, 576)
    assert not made.warnings


def test_one_gpu_is_too_small_for_a_7b_model(recipe: Recipe) -> None:
    job = load_train_recipe(recipe(model={"size": "7b", "trained": ["projector", "language"]}), "pretrain")
    made = plan_for(job, samples=1000, tokens=200, gpus=1, gpu="a100-80g", utilisation=0.25)
    assert sum(made.memory_gib.values()) > 100
    assert "do not fit into the 74.5 GiB of a a100-80g" in made.warnings[0]
    shards = load_train_recipe(recipe(model={"size": "7b"}, train={"fsdp": True, "batch_size": 64}), "pretrain")
    assert not plan_for(shards, samples=1000, tokens=200, **A100).warnings


def test_a_model_on_the_meta_device_has_no_weights(recipe: Recipe) -> None:
    model = model_on_meta(load_train_recipe(recipe(model={"size": "full"}), "captioner"))
    assert all(parameter.is_meta for parameter in model.parameters())
    assert sum(parameter.numel() for parameter in model.parameters()) > 8e9


def test_the_command(recipe: Recipe) -> None:
    told = CliRunner().invoke(captionlake, ["train", "captioner", str(recipe()), "--plan", "--gpus", "2", "--json"])
    assert told.exit_code == 0, told.output
    made = json.loads(told.stdout)
    assert (made["steps"], made["gpus"], made["accumulation"], made["gpu"]) == (6, 2, 1, "h100")
    told = CliRunner().invoke(captionlake, ["train", "captioner", str(recipe()), "--plan"])
    assert "parameters  trained" in told.stdout and "hours on 1 x h100 at 25% of their peak" in told.stdout
    assert not (recipe().parent / "run").exists()
