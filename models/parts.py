"""The parts of a model of pictures and text by name, and freezing all but some of them.

Parts are found by the names of parameters, which stay the same under FSDP and on the meta device:

| part | parameters |
|---|---|
| ``vision`` | the whole vision tower |
| ``vision.N`` | block N of the tower, from 0 |
| ``sampler`` | the captioner's cross-attention |
| ``projector`` | from the picture's features to the language model's width; the captioner's two image flags |
| ``language`` | the language model with its embeddings and head |
"""

import re
from collections.abc import Sequence

from torch import nn

from captionlake.errors import CaptionlakeError
from captionlake.models.part_names import PARTS, part_of

_BLOCK = re.compile(r"encoder\.layers\.(\d+)\.")
_FROM_BLOCK = re.compile(r"vision:(\d+)-")


def parts_of(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Every parameter once under ``vision``, ``sampler``, ``projector`` or ``language``; a tower's blocks again as ``vision.N``."""
    return {part: list(named.values()) for part, named in _named_parts(model).items()}


def freeze_all_but(model: nn.Module, trained: Sequence[str]) -> None:
    """Only the parts named are trained; ``vision:12-`` is the tower's blocks from 12 on.

    What the loss cannot reach stays frozen, because DDP waits for every gradient: a tower's blocks behind the feature
    layer (with -2 the last one), its last norm and its pooling head.
    """
    parts = _named_parts(model)
    reached = _reached_blocks(model, parts)
    idle = {name for name in parts["vision"] if not _reaches_loss(name, reached)}
    chosen: set[str] = set()
    for part in trained:
        wanted = _parameters(parts, part) - idle
        if not wanted:
            raise CaptionlakeError(
                f"{part} trains nothing: the blocks of the vision tower that reach the loss are 0 to {reached - 1}"
            )
        chosen |= wanted
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in chosen)


def _parameters(parts: dict[str, dict[str, nn.Parameter]], part: str) -> set[str]:
    if found := _FROM_BLOCK.fullmatch(part):
        blocks = (name for name in parts if name.startswith("vision.") and int(name[7:]) >= int(found.group(1)))
        return {name for block in blocks for name in parts[block]}
    if part not in parts:
        there = ", ".join(name for name in parts if not name.startswith("vision."))
        raise CaptionlakeError(f"the model has no part {part!r}: there are {there}, and vision:N- for blocks from N on")
    return set(parts[part])


def _named_parts(model: nn.Module) -> dict[str, dict[str, nn.Parameter]]:
    kind = str(getattr(getattr(model, "config", None), "model_type", type(model).__name__))
    if kind not in PARTS:
        raise CaptionlakeError(f"a model of type {kind} has no parts known here: known are {', '.join(PARTS)}")
    parts: dict[str, dict[str, nn.Parameter]] = {part: {} for part in PARTS[kind].values()}
    for name, parameter in model.named_parameters():
        part = part_of(kind, name)
        if part is None:
            raise CaptionlakeError(f"the parameter {name} of a {kind} model belongs to no part known here")
        parts[part][name] = parameter
        if part == "vision" and (block := _BLOCK.search(name)):
            parts.setdefault(f"vision.{block.group(1)}", {})[name] = parameter
    return parts


def _reached_blocks(model: nn.Module, parts: dict[str, dict[str, nn.Parameter]]) -> int:
    """How many of the tower's blocks lie before its feature layer.

    transformers counts hidden states: 0 is the embeddings, n the output of block n - 1, -1 that of the last block.
    """
    blocks = sum(part.startswith("vision.") for part in parts)
    given = getattr(model.config, "vision_feature_layer", -1)
    layers: list[int] = [*given] if isinstance(given, list | tuple) else [given]
    return max(layer if layer >= 0 else blocks + 1 + layer for layer in layers)


def _reaches_loss(name_in_tower: str, reached: int) -> bool:
    if block := _BLOCK.search(name_in_tower):
        return int(block.group(1)) < reached
    return ".post_layernorm." not in name_in_tower and ".head." not in name_in_tower
