"""The two models that a LLaVA is built from: loading them, with one-line errors for what does not fit."""

from pathlib import Path
from typing import Any

import torch

from captionlake.errors import CaptionlakeError


def load_tower(name: str, dtype: torch.dtype) -> tuple[Any, Any]:
    """(vision model, image processor) from a folder or the Hub; of a whole CLIP or SigLIP its vision half, of a LLaVA its tower."""
    from transformers import AutoConfig, CLIPImageProcessor, CLIPVisionModel, SiglipImageProcessor, SiglipVisionModel

    config = _opened(name, AutoConfig.from_pretrained, name)
    kind = config.model_type
    if kind == "llava":
        return _tower_of_llava(name, dtype)
    if kind in ("clip", "clip_vision_model"):
        loaded, pictures = CLIPVisionModel, CLIPImageProcessor
        vision = getattr(config, "vision_config", config)
    elif kind in ("siglip", "siglip_vision_model"):
        loaded, pictures = SiglipVisionModel, SiglipImageProcessor
        vision = getattr(config, "vision_config", config)
        vision.vision_use_head = False  # the pooling head is not read
    else:
        raise CaptionlakeError(f"{name} is a {kind}: the vision tower must be a CLIP or a SigLIP, or that of a LLaVA")
    tower = load_part(name, loaded, config=vision, dtype=dtype)
    try:
        return tower, pictures.from_pretrained(name)
    except OSError:  # a folder of weights alone: the means and deviations are the class's own
        return tower, pictures()


def _tower_of_llava(name: str, dtype: torch.dtype) -> tuple[Any, Any]:
    from transformers import AutoImageProcessor, LlavaForConditionalGeneration

    tower = load_part(name, LlavaForConditionalGeneration, dtype=dtype).model.vision_tower
    return tower, _opened(name, AutoImageProcessor.from_pretrained, name)


def load_language(name: str, dtype: torch.dtype) -> tuple[Any, Any]:
    """(causal language model, tokenizer) from a folder, the Hub or a GGUF file, whose weights are de-quantized."""
    from transformers import AutoModelForCausalLM

    where: dict[str, Any] = {}
    folder = name
    if name.endswith(".gguf"):
        path = Path(name)
        if not path.is_file():
            raise CaptionlakeError(f"{name} does not exist: name a language model's folder, GGUF file or Hub name")
        folder, where = str(path.parent), {"gguf_file": path.name}
    tokenizer = load_tokenizer(folder, **where)
    model = load_part(folder, AutoModelForCausalLM, dtype=dtype, **where)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    if getattr(model.get_output_embeddings(), "bias", None) is not None:
        raise CaptionlakeError(f"the head of {name} has a bias, which LLaVA's has not: take another language model")
    return model, tokenizer


def load_tokenizer(name: str, **options: Any) -> Any:
    """From a folder or the Hub. A ``tokenizer.model`` alone is read with the package sentencepiece."""
    from transformers import AutoTokenizer

    return _opened(name, AutoTokenizer.from_pretrained, name, **options)


def load_part(name: str, loaded: Any, **options: Any) -> Any:
    """A model of the class ``loaded``; weights that it lacks are an error, where transformers gives them random values."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # its table of what a whole CLIP has beside its tower
    try:
        model, report = _opened(name, loaded.from_pretrained, name, output_loading_info=True, **options)
    finally:
        logging.set_verbosity(verbosity)
    if missing := sorted(report["missing_keys"]):
        raise CaptionlakeError(
            f"{name} lacks {len(missing)} weights of a {type(model).__name__} ({missing[0]}): "
            "its config.json and its weights do not belong together"
        )
    return model


def _opened(name: str, read: Any, *args: Any, **options: Any) -> Any:
    try:
        return read(*args, **options)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CaptionlakeError(f"{name} cannot be loaded: {first}") from error
