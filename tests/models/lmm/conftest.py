"""Tiny towers and language models with random weights, as folders of the same form as the real ones."""

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    LlamaForCausalLM,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
)

from captionlake.models.lmm import random_lmm

from .toys import byte_level, llama

SIZE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2}
_TOWER = {**SIZE, "image_size": 32, "patch_size": 8}
_TEXTS = {**SIZE, "vocab_size": 100}


@pytest.fixture(scope="session")
def towers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders ``clip`` (both halves), ``clip_vision`` (weights alone) and ``siglip``."""
    folder = tmp_path_factory.mktemp("towers")
    torch.manual_seed(0)
    CLIPModel(CLIPConfig(vision_config=_TOWER, text_config=_TEXTS)).save_pretrained(folder / "clip")
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32).save_pretrained(folder / "clip")
    CLIPVisionModel(CLIPVisionConfig(**_TOWER)).save_pretrained(folder / "clip_vision")
    SiglipModel(SiglipConfig(vision_config=_TOWER, text_config=_TEXTS)).save_pretrained(folder / "siglip")
    SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder / "siglip")
    return folder


@pytest.fixture(scope="session")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model in Llama's form, with a tokenizer in Llama's form."""
    folder = tmp_path_factory.mktemp("words")
    torch.manual_seed(1)
    tokenizer = llama(pictures=False)
    LlamaForCausalLM(LlamaConfig(**SIZE, vocab_size=len(tokenizer))).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny() -> tuple[Any, Any]:
    """(model, processor) of the size ``tiny``; the tokenizer is of bytes and merges."""
    model, processor = random_lmm("tiny", byte_level())
    return model, processor


@pytest.fixture(scope="session")
def photograph(photographs: dict[str, Image.Image]) -> Image.Image:
    """512 wide, 400 high."""
    return photographs["astronaut"].crop((0, 0, 512, 400))


@pytest.fixture(scope="session")
def jpeg(photograph: Image.Image) -> bytes:
    out = io.BytesIO()
    photograph.save(out, "JPEG")
    return out.getvalue()
