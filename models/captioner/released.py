"""The released checkpoint's keys, and ours for each.

What differs: biases of query and value are parameters of their own there and one vector with zeros for the key here; each of
InternLM's layers keeps its rotary frequencies there, which are recomputed here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from captionlake.errors import CaptionlakeError

from .configuration import ShareCaptionerConfig

_BYTES = 2  # each value of the release is a float16


@dataclass(frozen=True, slots=True)
class Place:
    """Of a released key: its shape, and the key of ours that takes it (None: it is recomputed)."""

    shape: tuple[int, ...]
    ours: str | None


def released_keys(config: ShareCaptionerConfig) -> dict[str, Place]:
    """Every key of a checkpoint in the released form with this config."""
    return {**_vision(config), **_sampler(config), **_language(config)}


def released_bytes(config: ShareCaptionerConfig) -> int:
    """What such a checkpoint's tensors weigh: for ``full`` the 16,801,524,992 bytes that the release's index states."""
    return _BYTES * sum(torch.Size(place.shape).numel() for place in released_keys(config).values())


def _vision(config: ShareCaptionerConfig) -> dict[str, Place]:
    vision = config.vision_config
    width, inner, patch = vision.hidden_size, vision.intermediate_size, vision.patch_size
    positions = (vision.image_size // patch) ** 2 + 1
    theirs, ours = "visual_encoder", "vision_tower"
    places = {
        f"{theirs}.cls_token": Place((1, 1, width), f"{ours}.embeddings.class_embedding"),
        f"{theirs}.pos_embed": Place((1, positions, width), f"{ours}.embeddings.position_embedding"),
        f"{theirs}.patch_embed.proj.weight": Place(
            (width, 3, patch, patch), f"{ours}.embeddings.patch_embedding.weight"
        ),
        f"{theirs}.patch_embed.proj.bias": Place((width,), f"{ours}.embeddings.patch_embedding.bias"),
    }
    for number in range(vision.num_hidden_layers):
        block, layer = f"{theirs}.blocks.{number}", f"{ours}.encoder.layers.{number}"
        for their_norm, our_norm in (("norm1", "layer_norm1"), ("norm2", "layer_norm2")):
            for kind in ("weight", "bias"):
                places[f"{block}.{their_norm}.{kind}"] = Place((width,), f"{layer}.{our_norm}.{kind}")
        for bias in ("q_bias", "v_bias"):
            places[f"{block}.attn.{bias}"] = Place((width,), f"{layer}.self_attn.qkv.bias")
        places[f"{block}.attn.qkv.weight"] = Place((3 * width, width), f"{layer}.self_attn.qkv.weight")
        places |= _linear(f"{block}.attn.proj", f"{layer}.self_attn.projection", width, width)
        places |= _linear(f"{block}.mlp.fc1", f"{layer}.mlp.fc1", inner, width)
        places |= _linear(f"{block}.mlp.fc2", f"{layer}.mlp.fc2", width, inner)
    return places


def _sampler(config: ShareCaptionerConfig) -> dict[str, Place]:
    width, eyes, words = config.sampler_width, config.vision_config.hidden_size, config.text_config.hidden_size
    shapes: dict[str, tuple[int, ...]] = {
        "query": (config.num_queries, width),
        "pos_embed": (config.num_queries, width),
        "kv_proj.weight": (width, eyes),
        **{f"{norm}.{kind}": (width,) for norm in ("ln_q", "ln_kv", "ln_post") for kind in ("weight", "bias")},
        "attn.in_proj_weight": (3 * width, width),
        "attn.in_proj_bias": (3 * width,),
        "attn.out_proj.weight": (width, width),
        "attn.out_proj.bias": (width,),
    }
    places = {f"Qformer.{key}": Place(shape, f"sampler.{key}") for key, shape in shapes.items()}
    places |= _linear("internlm_proj", "projector", words, width)
    return places | {flag: Place((1, 1, words), flag) for flag in ("flag_image_start", "flag_image_end")}


def _language(config: ShareCaptionerConfig) -> dict[str, Place]:
    text = config.text_config
    width, inner, tokens = text.hidden_size, text.intermediate_size, text.vocab_size
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (tokens, width),
        "model.norm.weight": (width,),
        "lm_head.weight": (tokens, width),
    }
    recomputed: dict[str, Place] = {}
    for number in range(text.num_hidden_layers):
        layer = f"model.layers.{number}"
        for part in "qkvo":
            shapes[f"{layer}.self_attn.{part}_proj.weight"] = (width, width)
            shapes[f"{layer}.self_attn.{part}_proj.bias"] = (width,)
        for part, shape in (("gate", (inner, width)), ("up", (inner, width)), ("down", (width, inner))):
            shapes[f"{layer}.mlp.{part}_proj.weight"] = shape
        for norm in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"{layer}.{norm}.weight"] = (width,)
        frequencies = width // text.num_attention_heads // 2
        recomputed[f"internlm_model.{layer}.self_attn.rotary_emb.inv_freq"] = Place((frequencies,), None)
    kept = {f"internlm_model.{key}": Place(shape, f"language_model.{key}") for key, shape in shapes.items()}
    return kept | recomputed


def _linear(theirs: str, ours: str, out: int, into: int) -> dict[str, Place]:
    return {
        f"{theirs}.weight": Place((out, into), f"{ours}.weight"),
        f"{theirs}.bias": Place((out,), f"{ours}.bias"),
    }


def from_released(tensors: Iterator[tuple[str, Tensor]], places: Mapping[str, Place]) -> Iterator[tuple[str, Tensor]]:
    """Our keys and tensors out of theirs, as they come; two biases wait for each other."""
    waiting: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors:
        place = places[key]
        if tuple(tensor.shape) != place.shape:
            raise CaptionlakeError(
                f"{key} has the shape {list(tensor.shape)} and the model's is {list(place.shape)}: "
                "the checkpoint is of another size"
            )
        if place.ours is None:
            continue
        if not key.endswith((".q_bias", ".v_bias")):
            yield place.ours, tensor
            continue
        pair = waiting.setdefault(place.ours, {})
        pair[key[-6:]] = tensor
        if len(pair) == 2:
            query, value = pair["q_bias"], pair["v_bias"]
            yield place.ours, torch.cat((query, torch.zeros_like(query), value))
            del waiting[place.ours]


def to_released(state: Mapping[str, Tensor], config: ShareCaptionerConfig) -> dict[str, Tensor]:
    """The other way: a checkpoint in the released form. A key's bias, which cannot change any attention, is left behind."""
    released = {}
    like = state["language_model.model.embed_tokens.weight"]
    for key, place in released_keys(config).items():
        if place.ours is None:
            base = config.text_config.rope_parameters["rope_theta"]
            steps = torch.arange(place.shape[0], device=like.device) / place.shape[0]
            released[key] = (1.0 / base**steps).to(like.dtype)
        elif key.endswith(".q_bias"):
            released[key] = state[place.ours].chunk(3)[0].clone()
        elif key.endswith(".v_bias"):
            released[key] = state[place.ours].chunk(3)[2].clone()
        else:
            released[key] = state[place.ours]
    return released
