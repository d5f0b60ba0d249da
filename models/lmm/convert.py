"""A checkpoint of LLaVA's own code (LLaVA-1.5, ShareGPT4V-7B) to a folder that transformers reads."""

import json
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from captionlake.errors import CaptionlakeError
from captionlake.models.lmm.building import generation_config, lmm_processor, rounded, use_template
from captionlake.models.lmm.released import TABLES, ours
from captionlake.models.lmm.towers import load_tokenizer, load_tower
from captionlake.models.shards import WeightWriter, keys_by_shard, read_shards
from captionlake.models.tokens import check_tokens, fit_for_pictures

_FEATURES = {"patch": "default", "cls_patch": "full"}


def convert_llava(source: Path, vision: Path | str | None, target: Path, *, template: str = "vicuna_v1") -> None:
    """Streams shard by shard; ``target`` appears whole or not at all. Values and precision stay as they are.

    ``vision``: folder or Hub name of the tower, which such checkpoints hold in a repository of its own; without it the
    one that ``source`` names. Tower weights in ``source`` itself go before those of ``vision``. The embeddings get rows
    up to a multiple of 64, of which one is ``<image>``'s.
    """
    from transformers import LlavaForConditionalGeneration

    if target.exists():
        raise CaptionlakeError(f"{target} exists: name a new folder")
    theirs = _read_config(source)
    shards = keys_by_shard(source)
    tower, pictures = load_tower(str(vision or theirs["mm_vision_tower"]), torch.float32)
    tokenizer = load_tokenizer(str(source), add_bos_token=True)  # as LLaVA's code expects of it
    check_tokens(tokenizer, theirs["vocab_size"])
    fit_for_pictures(tokenizer)
    config = _config(theirs, tower.config, tokenizer)
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(config)
    shapes = _file_shapes(model)
    names = {key: name for key in set().union(*shards.values()) if (name := ours(key)) is not None}
    seen = {f"vision_tower.vision_model.{key}": tensor for key, tensor in tower.state_dict().items()}
    lent = {name: tensor for name, tensor in seen.items() if name not in names.values()}
    _check_names(source, names, shapes.keys() - lent.keys())
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with WeightWriter(partial) as writer:
        for key, tensor in read_shards(shards):
            if key not in names:
                continue
            name = names[key]
            _check_shape(
                source, key, tensor, [theirs["vocab_size"], *shapes[name][1:]] if name in TABLES else shapes[name]
            )
            writer.add(name, _with_rows(tensor, shapes[name][0]) if name in TABLES else tensor)
            config.dtype = tensor.dtype
        for name, tensor in lent.items():
            writer.add(name, tensor.to(config.dtype))
    config.architectures = [type(model).__name__]
    config.save_pretrained(partial)
    processor = lmm_processor(config, tokenizer, pictures)
    model.generation_config = generation_config(config, tokenizer)
    use_template(model, processor, template)
    model.generation_config.save_pretrained(partial)
    processor.save_pretrained(partial)
    partial.rename(target)


def _read_config(source: Path) -> dict[str, Any]:
    file = source / "config.json"
    try:
        theirs: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CaptionlakeError(f"{source} is no checkpoint: its config.json cannot be read ({error})") from error
    kind = "/".join(theirs.get("architectures") or [str(theirs.get("model_type"))])
    if "vision_config" in theirs:
        raise CaptionlakeError(f"{source} is a {kind} in transformers' form: it needs no conversion")
    if "mm_vision_tower" not in theirs or "Llama" not in kind:
        raise CaptionlakeError(f"{source} is a {kind}: a checkpoint of LLaVA's own code around a Llama is converted")
    projector, features = theirs.get("mm_projector_type"), theirs.get("mm_vision_select_feature", "patch")
    if projector != "mlp2x_gelu":
        raise CaptionlakeError(f"the projector of {source} is {projector}: mlp2x_gelu, that of LLaVA 1.5, is converted")
    if features not in _FEATURES:
        raise CaptionlakeError(
            f"mm_vision_select_feature of {source} is {features}: {' and '.join(_FEATURES)} are known"
        )
    if theirs.get("mm_use_im_start_end"):
        raise CaptionlakeError(
            f"{source} marks pictures with <im_start> and <im_end>, which transformers' LLaVA does not read"
        )
    return theirs


def _config(theirs: Mapping[str, Any], vision: Any, tokenizer: Any) -> Any:
    from transformers import LlamaConfig, LlavaConfig

    known = LlamaConfig().to_dict().keys() | {"rope_theta", "rope_scaling"}
    kept = {key: value for key, value in theirs.items() if key in known - {"model_type", "architectures", "dtype"}}
    kept |= {
        "vocab_size": rounded(max(theirs["vocab_size"], len(tokenizer))),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return LlavaConfig(
        vision_config=vision,
        text_config=LlamaConfig(**kept),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=(vision.image_size // vision.patch_size) ** 2,
        vision_feature_layer=theirs.get("mm_vision_select_layer", -2),
        vision_feature_select_strategy=_FEATURES[theirs.get("mm_vision_select_feature", "patch")],
    )


def _file_shapes(model: Any) -> dict[str, list[int]]:
    """Shapes by the keys of files, which differ from those of modules: they are the older ones, that all versions read."""
    names = {
        "model.vision_tower.": "vision_tower.vision_model.",
        "model.multi_modal_projector.": "multi_modal_projector.",
        "model.language_model.": "language_model.model.",
        "lm_head.": "language_model.lm_head.",
    }
    shapes = {}
    for key, tensor in model.state_dict().items():
        start = next(start for start in names if key.startswith(start))
        shapes[names[start] + key.removeprefix(start)] = list(tensor.shape)
    return shapes


def _check_names(source: Path, names: Mapping[str, str], needed: Collection[str]) -> None:
    if missing := sorted(set(needed) - set(names.values())):
        raise CaptionlakeError(
            f"{source} lacks {len(missing)} weights of a LLaVA with its config.json ({missing[0]}): download it again"
        )
    if unexpected := sorted(key for key, name in names.items() if name not in needed):
        raise CaptionlakeError(
            f"{source} has {len(unexpected)} weights that a LLaVA with its config.json has not ({unexpected[0]}): "
            "it is another model"
        )


def _check_shape(source: Path, key: str, tensor: Tensor, shape: list[int]) -> None:
    if list(tensor.shape) != shape:
        raise CaptionlakeError(
            f"{key} of {source} has the shape {list(tensor.shape)}, and its config.json and tower say {shape}: "
            "they do not belong together"
        )


def _with_rows(table: Tensor, rows: int) -> Tensor:
    """(R, D) -> (rows, D), the new ones the mean of the old."""
    mean = table.float().mean(dim=0).to(table.dtype)
    return torch.cat((table, mean.expand(rows - len(table), -1)))
