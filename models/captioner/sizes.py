"""Captioners from tests' size to the released one.

| size | for |
|---|---|
| ``tiny`` | tests: it learns nothing |
| ``small`` | drawn scenes, from nothing, on a processor |
| ``base`` | SmolLM2-135M as language model (``build(language=…)`` takes its weights) |
| ``full`` | the released Share-Captioner: EVA ViT-g at 448 pixels, 256 queries, InternLM-7B |
"""

from collections.abc import Mapping
from typing import Any

from captionlake.errors import CaptionlakeError

from .configuration import ShareCaptionerConfig

_VISION: dict[str, dict[str, Any]] = {
    "tiny": {"hidden_size": 32, "intermediate_size": 64, "layers": 2, "heads": 2, "patch_size": 8, "image_size": 32},
    "small": {"hidden_size": 128, "intermediate_size": 512, "layers": 4, "heads": 4, "patch_size": 16, "image_size": 64},
    "base": {"hidden_size": 384, "intermediate_size": 1536, "layers": 12, "heads": 6, "patch_size": 16, "image_size": 224},
    "full": {"hidden_size": 1408, "intermediate_size": 6144, "layers": 39, "heads": 16, "patch_size": 14, "image_size": 448},
}  # fmt: skip
_TEXT: dict[str, dict[str, Any]] = {
    "tiny": {"hidden_size": 32, "intermediate_size": 64, "layers": 2, "heads": 2, "vocab_size": 512},
    "small": {"hidden_size": 128, "intermediate_size": 384, "layers": 3, "heads": 4, "vocab_size": 2048},
    "base": {
        "hidden_size": 576, "intermediate_size": 1536, "layers": 30, "heads": 9, "vocab_size": 49152, "attention_bias": False,
        "num_key_value_heads": 3, "rope_theta": 100000.0, "tie_word_embeddings": True, "max_position_embeddings": 8192,
    },
    "full": {"hidden_size": 4096, "intermediate_size": 11008, "layers": 32, "heads": 32, "vocab_size": 103172},
}  # fmt: skip
# Random weights deviate by 0.02 where they are wide; narrow ones, begun from nothing, learn sooner from about 1 / sqrt(width).
_SAMPLER: dict[str, dict[str, Any]] = {
    "tiny": {"num_queries": 4, "sampler_heads": 2, "initializer_range": 0.1},
    "small": {"num_queries": 16, "sampler_heads": 4, "initializer_range": 0.09},
    "base": {"num_queries": 64, "sampler_heads": 9},
    "full": {"num_queries": 256, "sampler_heads": 32},
}
SIZES = tuple(_VISION)


def config_of(
    size: str, *, vision: Mapping[str, Any] | None = None, text: Mapping[str, Any] | None = None, **changes: Any
) -> ShareCaptionerConfig:
    """A size's config. ``vision``, ``text`` and ``changes`` (``num_queries``, ``sampler_heads``…) replace single settings.

    The vocabulary is the tokenizer's once ``build`` knows it.
    """
    from transformers import Blip2VisionConfig, LlamaConfig

    if size not in SIZES:
        raise CaptionlakeError(f"there is no captioner of size {size!r}: sizes are {', '.join(SIZES)}")
    own = {**_SAMPLER[size], **changes}
    spread = {"initializer_range": own.get("initializer_range", 0.02)}
    eyes = {**spread, **_named(_VISION[size]), **(vision or {})}
    words = {**spread, "attention_bias": True, "rms_norm_eps": 1e-5, **_named(_TEXT[size]), **(text or {})}
    return ShareCaptionerConfig(vision_config=Blip2VisionConfig(**eyes), text_config=LlamaConfig(**words), **own)


def _named(setting: Mapping[str, Any]) -> dict[str, Any]:
    long = {"layers": "num_hidden_layers", "heads": "num_attention_heads"}
    return {long.get(key, key): value for key, value in setting.items()}
