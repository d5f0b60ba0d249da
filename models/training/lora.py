"""LoRA (Hu et al. 2021, arXiv 2106.09685) by peft's layers, put into the model itself: it saves, loads and shards as any other.

A layer of weight W (O, I) has A (R, I) and B (O, R) beside it, and computes with W + B A alpha / R.
"""

import json
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from captionlake.errors import CaptionlakeError, require
from captionlake.models.training.train_config import LoraConfig

ADAPTER = "adapter"  # the folder of what is not merged
_NAME = "default"
_A, _B = f".lora_A.{_NAME}.weight", f".lora_B.{_NAME}.weight"
_OF_LAYER = re.compile(r"\.base_layer(?=\.(weight|bias)$)")


def add_lora(model: Any, config: LoraConfig) -> None:
    """The language model's own weights are frozen, and its ``targets`` get differences that are trained. Other parts stay as they are.

    Raises where a target is no layer of the language model.
    """
    peft: Any = require("peft", extra="train")
    from captionlake.models.parts import parts_of

    for weight in parts_of(model)["language"]:
        weight.requires_grad_(False)
    others = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    inside = [
        name
        for name, module in model.named_modules()
        if "language_model." in name and isinstance(module, torch.nn.Linear)
    ]
    ends = {name.rpartition(".")[2] for name in inside}
    if unknown := sorted(set(config.targets) - ends):
        raise CaptionlakeError(
            f"[lora] targets {unknown[0]}, and the language model has no such layer: it has {', '.join(sorted(ends - {'lm_head'}))}"
        )
    wanted = [name for name in inside if name.rpartition(".")[2] in config.targets]
    peft.inject_adapter_in_model(_peft_config(config, wanted), model, adapter_name=_NAME)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in others or ".lora_" in name)


def without_lora(state: dict[str, Tensor], config: LoraConfig) -> dict[str, Tensor]:
    """The weights under the model's own names; ``merge`` adds what was learned to them, computed in fp32."""
    plain: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if ".lora_" in name:
            continue
        layer = _OF_LAYER.split(name)[0]
        if config.merge and name == f"{layer}.base_layer.weight" and layer + _A in state:
            a, b = state[layer + _A].float(), state[layer + _B].float()
            tensor = (tensor.float() + (b @ a) * (config.alpha / config.rank)).to(tensor.dtype)
        plain[_OF_LAYER.sub("", name)] = tensor
    return plain


def save_adapter(state: dict[str, Tensor], config: LoraConfig, folder: Path) -> None:
    """What was learned beside the weights, as ``peft`` and its users read it."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    learned = {
        f"base_model.model.{name.replace(f'.{_NAME}.', '.')}": tensor.contiguous()
        for name, tensor in state.items()
        if ".lora_" in name
    }
    save_file(learned, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    layers = sorted({name.partition(".lora_")[0] for name in state if ".lora_" in name})
    settings = _peft_config(config, layers).to_dict()
    settings["target_modules"] = layers
    (folder / "adapter_config.json").write_text(json.dumps(settings, indent=2, default=str) + "\n", encoding="utf-8")


def _peft_config(config: LoraConfig, layers: list[str]) -> Any:
    peft: Any = require("peft", extra="train")
    return peft.LoraConfig(
        r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout, target_modules=layers, bias="none"
    )
