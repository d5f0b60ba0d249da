"""A new captioner, from nothing or from parts; and loading one back."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, CLIPImageProcessor, GenerationConfig, PreTrainedConfig

from captionlake.errors import CaptionlakeError
from captionlake.models.data.sample import IMAGE
from captionlake.models.lmm.templates import chat_template, template_of
from captionlake.models.lmm.towers import load_part
from captionlake.models.tokens import GENERATION, check_tokens, fit_for_pictures

from .configuration import ShareCaptionerConfig
from .model import CaptionerVision, ShareCaptionerForConditionalGeneration
from .positions import resize_positions
from .processor import ShareCaptionerProcessor
from .sizes import config_of

TEMPLATE = "share_captioner"  # of its prompts, in training and in use
_ROUND = 64  # rows of an embedding table are rounded up to this many, for the speed of its products


def build(
    size: str | ShareCaptionerConfig,
    tokenizer: Any,
    *,
    seed: int = 0,
    vision: Path | str | None = None,
    language: Path | str | None = None,
    gguf_file: str | None = None,
    image_size: int | None = None,
) -> tuple[ShareCaptionerForConditionalGeneration, ShareCaptionerProcessor]:
    """Random weights by ``seed``, but for the parts that are given.

    ``vision``: a BLIP-2 (its ViT is EVA's) or its vision model; ``language``: any causal language model, with ``gguf_file``
    one of its GGUF files. A given part's shape replaces the size's. ``tokenizer`` is the language model's; ``<image>`` is
    added to it. ``image_size``: pixels of the pictures' sides; the position embeddings are resampled to it.
    """
    config = config_of(size) if isinstance(size, str) else size
    fit_for_pictures(tokenizer)
    whole = {"dtype": torch.float32}
    eyes = words = None
    if vision is not None:  # a vision model's folder, or a whole BLIP-2's
        eyes = load_part(str(vision), CaptionerVision, key_mapping={r"^vision_model\.": ""}, **whole)
    if language is not None:
        words = load_part(str(language), AutoModelForCausalLM, gguf_file=gguf_file, **whole)
    if eyes is not None:
        config.vision_config = eyes.config
    if words is not None:
        config = around(config, words.config)
    _tell_tokens(config, tokenizer, keep=words is not None)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = ShareCaptionerForConditionalGeneration(config)
        if words is not None:
            model.language_model.load_state_dict(words.state_dict())
            if len(tokenizer) > config.text_config.vocab_size:
                model.resize_token_embeddings(len(tokenizer), pad_to_multiple_of=_ROUND)
    if eyes is not None:
        model.vision_tower.load_state_dict(eyes.state_dict())
    if image_size is not None:
        resize_positions(model, image_size)
    check_tokens(tokenizer, model.get_input_embeddings().num_embeddings)
    model.generation_config = generation_config(config, tokenizer)
    return model, new_processor(config, tokenizer)


def load(
    folder: Path | str, *, image_size: int | None = None, **options: Any
) -> tuple[ShareCaptionerForConditionalGeneration, ShareCaptionerProcessor]:
    """A saved captioner; with ``image_size`` another resolution than it was saved with. ``options`` go to the model."""
    try:
        kind = PreTrainedConfig.get_config_dict(folder)[0].get("model_type")
        if kind != ShareCaptionerConfig.model_type:
            raise CaptionlakeError(
                f"{folder} holds a model of type {kind}, not a captioner ({ShareCaptionerConfig.model_type})"
            )
        model, found = ShareCaptionerForConditionalGeneration.from_pretrained(
            folder, image_size=image_size, output_loading_info=True, **options
        )
        processor = ShareCaptionerProcessor.from_pretrained(folder)
    except OSError as error:
        raise CaptionlakeError(f"{folder} is no whole captioner: {' '.join(str(error).split())}") from error
    if missing := found["missing_keys"]:
        raise CaptionlakeError(f"{folder} lacks {len(missing)} of its weights ({min(missing)}): it was not saved whole")
    check_tokens(processor.tokenizer, model.get_input_embeddings().num_embeddings)
    if image_size is not None:
        processor.resize(image_size)
    return model, processor


def new_processor(config: ShareCaptionerConfig, tokenizer: Any) -> ShareCaptionerProcessor:
    """For a tokenizer that is fit for pictures. Mean, deviation and bicubic resampling are CLIP's, as EVA's were."""
    side = config.vision_config.image_size
    pictures = CLIPImageProcessor(size={"height": side, "width": side}, do_center_crop=False)
    return ShareCaptionerProcessor(
        pictures,
        tokenizer,
        num_image_tokens=config.num_image_tokens,
        chat_template=chat_template(template_of(TEMPLATE), tokenizer),
    )


def generation_config(config: ShareCaptionerConfig, tokenizer: Any) -> GenerationConfig:
    """Greedy; stops at the end of the assistant's words or of the text, and never says ``<image>``."""
    end = template_of(TEMPLATE).of_tokenizer(tokenizer).end
    ends = sorted({tokenizer.convert_tokens_to_ids(end), tokenizer.eos_token_id})
    return GenerationConfig(
        **GENERATION,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=ends,
        pad_token_id=tokenizer.pad_token_id,
        suppress_tokens=[config.image_token_id],
    )


def around(config: ShareCaptionerConfig, text: Any) -> ShareCaptionerConfig:
    """The same captioner around another language model: its sampler as wide as that, with heads that divide it."""
    width = text.hidden_size
    heads = next(heads for heads in (config.sampler_heads, text.num_attention_heads, 1) if width % heads == 0)
    return ShareCaptionerConfig(
        vision_config=config.vision_config,
        text_config=text,
        num_queries=config.num_queries,
        sampler_heads=heads,
        sampler_eps=config.sampler_eps,
        initializer_range=config.initializer_range,
    )


def _tell_tokens(config: ShareCaptionerConfig, tokenizer: Any, *, keep: bool) -> None:
    """The config learns the tokenizer's ids, and its count of tokens unless the embeddings are given (``keep``)."""
    text = config.text_config
    if not keep:
        text.vocab_size = -(-len(tokenizer) // _ROUND) * _ROUND
    config.image_token_id = tokenizer.convert_tokens_to_ids(IMAGE)
    text.bos_token_id, text.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id
    text.pad_token_id = tokenizer.pad_token_id
