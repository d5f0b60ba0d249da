"""Batches, alone and over two processes. The model is tiny and random."""

import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from captionlake.models.data.sample import Sample
from captionlake.models.lmm import Collator, Prepare
from captionlake.models.parts import freeze_all_but

_TEXT = (("human", "Two and two?"), ("gpt", "Four, as it was before."))
_LONGER = (("human", "And three more of them?"), ("gpt", "Seven then, and that is all there is to say of it."))
_PICTURE = (("human", "<image>\nWhat?"), ("gpt", "A woman."))


@pytest.fixture
def prepared(tiny: tuple[Any, Any], jpeg: bytes) -> Callable[..., list[dict[str, Any]]]:
    prepare = Prepare(tiny[1], "vicuna_v1", question=None, max_text_tokens=2048)

    def make(*conversations: Any) -> list[dict[str, Any]]:
        return [
            prepare(Sample(place, str(place), (jpeg,) if turns is _PICTURE else (), turns))
            for place, turns in enumerate(conversations)
        ]

    return make


@pytest.fixture
def model(tiny: tuple[Any, Any]) -> Any:
    """One of one's own, to train."""
    model = copy.deepcopy(tiny[0])
    freeze_all_but(model, ["vision", "projector", "language"])
    return model


def test_rows_of_both_kinds_in_one_batch(tiny: tuple[Any, Any], prepared: Any) -> None:
    _, processor = tiny
    rows = prepared(_PICTURE, _TEXT, _LONGER, _PICTURE)
    batch = Collator(processor, positions=True)(rows)
    width = max(row["length"] for row in rows)
    assert all(batch[key].shape == (4, width) for key in ("input_ids", "attention_mask", "labels"))
    assert batch["pixel_values"].shape == (2, 3, 32, 32) and batch["positions"].tolist() == [0, 1, 2, 3]
    for place, row in enumerate(rows):
        length = row["length"]
        assert batch["input_ids"][place, :length].tolist() == row["input_ids"]
        assert batch["labels"][place, :length].tolist() == row["labels"]
        assert batch["attention_mask"][place].tolist() == [1] * length + [0] * (width - length)
        assert (batch["labels"][place, length:] == -100).all()
        assert (batch["input_ids"][place, length:] == processor.tokenizer.pad_token_id).all()


def test_a_batch_has_the_loss_and_gradients_of_its_rows(model: Any, tiny: tuple[Any, Any], prepared: Any) -> None:
    rows = prepared(_PICTURE, _TEXT, _LONGER, _PICTURE)
    collate = Collator(tiny[1])
    together = _gradients(model, collate(rows))
    learned = [sum(label != -100 for label in row["labels"]) for row in rows]
    apart = [_gradients(model, collate([row])) for row in rows]
    for name, gradient in together.items():
        parts = [one[name] * count for one, count in zip(apart, learned, strict=True) if name in one]
        assert torch.allclose(gradient, torch.stack(parts).sum(dim=0) / sum(learned), atol=1e-6), name


def test_without_pictures_a_masked_one_changes_nothing_but_reaches_tower_and_projector(
    model: Any, tiny: tuple[Any, Any], prepared: Any
) -> None:
    rows = prepared(_LONGER, _TEXT)
    plain = Collator(tiny[1])(rows)
    assert "pixel_values" not in plain
    blank = Collator(tiny[1], always_picture=True)(rows)
    assert blank["pixel_values"].shape == (1, 3, 32, 32)
    assert int(blank["attention_mask"].sum()) == sum(row["length"] for row in rows)
    assert torch.equal(blank["labels"][blank["labels"] != -100], plain["labels"][plain["labels"] != -100])
    without, through = _gradients(model, plain), _gradients(model, blank)
    eyes = {name for name in through if "vision_tower" in name or "projector" in name}
    assert any("projector" in name for name in eyes) and eyes == through.keys() - without.keys()
    assert not any(through[name].any() for name in eyes)
    for name, gradient in without.items():
        assert torch.allclose(gradient, through[name], atol=1e-6), name
    with_picture = Collator(tiny[1], always_picture=True)(prepared(_PICTURE, _TEXT))
    assert with_picture["pixel_values"].shape == (1, 3, 32, 32) and with_picture["pixel_values"].any()


def _gradients(model: nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The loss, and the gradient of each parameter that has one."""
    model.zero_grad()
    loss = model(**batch).loss
    loss.backward()
    return {"loss": loss.detach()} | {
        name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None
    }


_RANK = """
import sys, torch, torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from transformers import LlavaForConditionalGeneration
from captionlake.models.parts import freeze_all_but

folder, rank = sys.argv[1], int(sys.argv[2])
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
batch = torch.load(f"{folder}/batch-{rank}.pt", weights_only=True)
for kind in ("ddp", "fsdp"):
    model = LlavaForConditionalGeneration.from_pretrained(folder)
    freeze_all_but(model, ["projector", "language"])
    if kind == "ddp":
        trained = DistributedDataParallel(model)
    else:
        mesh = init_device_mesh("cpu", (2,))
        for layer in (*model.model.language_model.layers, *model.model.vision_tower.encoder.layers):
            fully_shard(layer, mesh=mesh)
        trained = fully_shard(model, mesh=mesh)
    optimizer = torch.optim.SGD([one for one in model.parameters() if one.requires_grad], lr=0.1)
    for step in range(2):
        optimizer.zero_grad()
        trained(**batch).loss.backward()
        optimizer.step()
    whole = {name: getattr(one, "full_tensor", one.clone)() for name, one in model.state_dict().items()}
    if rank == 0:
        torch.save(whole, f"{folder}/{kind}.pt")
dist.destroy_process_group()
"""


def test_one_process_has_pictures_and_the_other_text(
    tmp_path: Path, model: Any, tiny: tuple[Any, Any], prepared: Any
) -> None:
    """DDP and FSDP, two gloo processes: neither waits for the other's projector, and what they learn is the mean of both."""
    model.save_pretrained(tmp_path)
    collate = Collator(tiny[1], always_picture=True)
    batches = [collate(prepared(_PICTURE, _PICTURE)), collate(prepared(_TEXT, _LONGER))]
    for rank, batch in enumerate(batches):
        torch.save(batch, tmp_path / f"batch-{rank}.pt")
    ranks = [
        subprocess.Popen([sys.executable, "-c", _RANK, str(tmp_path), str(rank)], stderr=subprocess.PIPE)
        for rank in range(2)
    ]
    said = [rank.communicate(timeout=300)[1].decode() for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], said
    freeze_all_but(model, ["projector", "language"])
    optimizer = torch.optim.SGD([one for one in model.parameters() if one.requires_grad], lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        for batch in batches:
            (model(**batch).loss / 2).backward()
        optimizer.step()
    for kind in ("ddp", "fsdp"):
        learned = torch.load(tmp_path / f"{kind}.pt", weights_only=True)
        for name, one in model.state_dict().items():
            assert torch.allclose(learned[name], one, atol=1e-5), (kind, name)
