"""A LLaVA from any CLIP or SigLIP tower and any causal language model, and its processor."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from captionlake.errors import CaptionlakeError
from captionlake.models.data.sample import IMAGE
from captionlake.models.lmm.encoding import token_ids
from captionlake.models.lmm.projector import load_projector
from captionlake.models.lmm.sizes import config_of
from captionlake.models.lmm.templates import chat_template, template_of
from captionlake.models.lmm.towers import load_language, load_tower
from captionlake.models.tokens import GENERATION, check_tokens, fit_for_pictures

_ROUND = 64  # rows of an embedding table are rounded up to this many, for the speed of its products


def build_lmm(
    *,
    vision: str,
    language: str,
    projector: str | None = None,
    feature_layer: int = -2,
    template: str = "vicuna_v1",
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> tuple[Any, Any]:
    """(model, processor); ``vision`` and ``language`` are folders or Hub names, ``language`` may be a GGUF file.

    ``projector``: ``mm_projector.bin``, a safetensors file or a LLaVA's folder; without it the projector is new, its
    values by ``seed``. ``feature_layer`` counts hidden states: -2 is the output of the last block but one.
    """
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    template_of(template)  # before anything is loaded
    tower, pictures = load_tower(vision, dtype)
    words, tokenizer = load_language(language, dtype)
    check_tokens(tokenizer, words.get_input_embeddings().num_embeddings)
    fit_for_pictures(tokenizer)
    _make_room(words, len(tokenizer))
    blocks = tower.config.num_hidden_layers
    if not -blocks - 1 <= feature_layer <= blocks:
        raise CaptionlakeError(
            f"feature_layer = {feature_layer}: {vision} has {blocks} blocks, so take {-blocks - 1} to {blocks}"
        )
    has_class_token = tower.config.model_type.startswith("clip")
    config = LlavaConfig(
        vision_config=tower.config,
        text_config=words.config,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        image_seq_length=(tower.config.image_size // tower.config.patch_size) ** 2,
        vision_feature_layer=feature_layer,
        vision_feature_select_strategy="default" if has_class_token else "full",
    )
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(config)
    model.model.vision_tower = tower
    model.model.language_model = words.base_model
    model.lm_head = words.get_output_embeddings()
    model.model.multi_modal_projector = _new_projector(config, seed).to(dtype)
    if projector is not None:
        load_projector(model.model.multi_modal_projector, Path(projector))
    return model.eval(), _settled(model, tokenizer, pictures, template)


def random_lmm(config: Any, tokenizer: Any, *, template: str = "vicuna_v1", seed: int = 0) -> tuple[Any, Any]:
    """(model, processor) with random weights; ``config`` is a ``LlavaConfig`` or a size. Its vocabulary is the tokenizer's."""
    from transformers import CLIPImageProcessor, LlavaForConditionalGeneration

    config = config_of(config) if isinstance(config, str) else config
    fit_for_pictures(tokenizer)
    config.text_config.vocab_size = rounded(len(tokenizer))
    config.image_token_index = tokenizer.convert_tokens_to_ids(IMAGE)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlavaForConditionalGeneration(config)
    return model.eval(), _settled(model, tokenizer, CLIPImageProcessor(), template)


def use_template(model: Any, processor: Any, name: str) -> None:
    """The processor writes messages by this template, and generation ends where its answers end.

    For ``plain`` pictures are cropped to a square at their centre, for all others padded to one with the mean colour.
    """
    template = template_of(name)
    tokenizer = processor.tokenizer
    processor.chat_template = chat_template(template, tokenizer)
    processor.image_processor.do_pad = not template.drops_text
    end = token_ids(tokenizer, template.of_tokenizer(tokenizer).end)
    model.generation_config.eos_token_id = sorted({tokenizer.eos_token_id, *(end if len(end) == 1 else [])})


def image_tokens(processor: Any) -> int:
    """Placeholders that a picture becomes, of either family's processor."""
    if hasattr(processor, "num_image_tokens"):
        return int(processor.num_image_tokens)
    size = processor.image_processor.crop_size
    patches = (size["height"] // processor.patch_size) * (size["width"] // processor.patch_size)
    without_class = processor.vision_feature_select_strategy == "default"
    return int(patches + processor.num_additional_image_tokens - without_class)


def lmm_processor(config: Any, tokenizer: Any, pictures: Any) -> Any:
    """Of a LLaVA's config and a tokenizer with ``<image>``; ``pictures`` brings mean, deviation and resampling."""
    from transformers import LlavaImageProcessor, LlavaProcessor

    side = config.vision_config.image_size
    square = LlavaImageProcessor(
        size={"shortest_edge": side},
        crop_size={"height": side, "width": side},
        resample=pictures.resample,
        image_mean=pictures.image_mean,
        image_std=pictures.image_std,
    )
    strategy = config.vision_feature_select_strategy
    return LlavaProcessor(
        square,
        tokenizer,
        patch_size=config.vision_config.patch_size,
        vision_feature_select_strategy=strategy,
        num_additional_image_tokens=int(config.vision_config.model_type.startswith("clip")),
    )


def generation_config(config: Any, tokenizer: Any) -> Any:
    """Greedy, and ``<image>`` is never said. ``use_template`` sets where it ends."""
    from transformers import GenerationConfig

    return GenerationConfig(
        **GENERATION,
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        suppress_tokens=[config.image_token_id],
    )


def _settled(model: Any, tokenizer: Any, pictures: Any, template: str) -> Any:
    model.generation_config = generation_config(model.config, tokenizer)
    model.config.text_config.pad_token_id = tokenizer.pad_token_id
    processor = lmm_processor(model.config, tokenizer, pictures)
    use_template(model, processor, template)
    return processor


def _new_projector(config: Any, seed: int) -> nn.Module:
    from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        projector: nn.Module = LlavaMultiModalProjector(config)
    return projector


def rounded(rows: int) -> int:
    """Up to a multiple of 64."""
    return -(-rows // _ROUND) * _ROUND


def _make_room(words: Any, tokens: int) -> None:
    """Rows for all tokens; new ones are the mean of the old, so that they are neither likely nor unlikely to be said."""
    tables = [words.get_input_embeddings().weight, words.get_output_embeddings().weight]
    old = len(tables[0])
    new = rounded(max(tokens, old))
    if new == old:
        return
    means = [table.detach().float().mean(dim=0) for table in tables]
    words.resize_token_embeddings(new, mean_resizing=False)
    tables = [words.get_input_embeddings().weight, words.get_output_embeddings().weight]
    with torch.no_grad():
        for table, mean in zip(tables, means, strict=True):
            table[old:] = mean.to(table.dtype)
