"""LLaVA's configs by size. Their weights are random: ``build_lmm`` takes a tower's and a language model's.

| size | vision tower | language model | for |
|---|---|---|---|
| ``tiny`` | 4 blocks, width 32, 32 pixels | 2 blocks, width 32 | tests: it learns nothing |
| ``small`` | 5 blocks, width 128, 64 pixels | 3 blocks, width 128 | drawn scenes, from nothing, on a processor |
| ``smollm2`` | CLIP ViT-B/16 at 224 pixels | SmolLM2-135M | trials on one small GPU |
| ``7b`` | CLIP ViT-L/14 at 336 pixels | Vicuna-7B v1.5 | LLaVA-1.5-7B and ShareGPT4V-7B |
"""

from typing import Any

from captionlake.errors import CaptionlakeError

_VISION: dict[str, dict[str, Any]] = {
    "tiny": {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 2,
        "image_size": 32, "patch_size": 8,
    },
    "small": {
        "hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 5, "num_attention_heads": 4,
        "image_size": 64, "patch_size": 16, "initializer_range": 0.09,
    },
    "smollm2": {
        "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
        "image_size": 224, "patch_size": 16,
    },
    "7b": {
        "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
        "image_size": 336, "patch_size": 14,
    },
}  # fmt: skip
# The vocabulary has room for <image> and is a multiple of 64.
_TEXT: dict[str, dict[str, Any]] = {
    "tiny": {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 512,
    },
    "small": {
        "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 2048,
        "initializer_range": 0.09,
    },
    "smollm2": {
        "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
        "num_key_value_heads": 3, "vocab_size": 49216, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5,
        "rope_theta": 100000.0, "tie_word_embeddings": True,
    },
    "7b": {
        "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
        "vocab_size": 32064, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5,
    },
}  # fmt: skip
_IMAGE_TOKEN = {"tiny": 511, "small": 2047, "smollm2": 49152, "7b": 32000}


def config_of(size: str) -> Any:
    """A size's ``LlavaConfig``, for plans and for random models."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig

    if size not in _VISION:
        raise CaptionlakeError(f"there is no LMM of size {size!r}: sizes are {', '.join(_VISION)}")
    vision = CLIPVisionConfig(**_VISION[size])
    return LlavaConfig(
        vision_config=vision,
        text_config=LlamaConfig(**_TEXT[size]),
        image_token_index=_IMAGE_TOKEN[size],
        image_seq_length=(vision.image_size // vision.patch_size) ** 2,
    )
