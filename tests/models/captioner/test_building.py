"""Captioners around given parts. The parts are tiny and of random weights."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import (
    AutoModelForCausalLM,
    Blip2Config,
    Blip2ForConditionalGeneration,
    GPT2Config,
    LlamaConfig,
    Qwen2Config,
)

from captionlake.errors import CaptionlakeError
from captionlake.models.captioner import build, load
from captionlake.models.captioner.positions import resample_positions

from .conftest import asked, inputs_of

_EYES = {"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2, "patch_size": 8}
_SIZE = {"hidden_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4}
_LANGUAGES = {
    "llama": LlamaConfig(**_SIZE, intermediate_size=64, num_key_value_heads=2, vocab_size=400),
    "qwen2, tied": Qwen2Config(**_SIZE, intermediate_size=64, num_key_value_heads=2, vocab_size=400, tie_word_embeddings=True),
    "gpt2": GPT2Config(n_embd=40, n_layer=2, n_head=4, vocab_size=400),
}  # fmt: skip


@pytest.fixture
def blip2(tmp_path: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """The folder of a whole BLIP-2, and its vision model's weights."""
    narrow = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Blip2Config(
        vision_config={**_EYES, "image_size": 32, "initializer_range": 0.02},
        qformer_config={**narrow, "intermediate_size": 32, "encoder_hidden_size": 48},
        text_config={**narrow, "model_type": "opt", "ffn_dim": 32, "vocab_size": 64, "word_embed_proj_dim": 32},
    )
    model = Blip2ForConditionalGeneration(config)
    model.save_pretrained(tmp_path / "blip2")
    return tmp_path / "blip2", model.vision_model.state_dict()


@pytest.mark.parametrize("kind", _LANGUAGES)
def test_any_causal_language_model_speaks(kind: str, words: Any, photos: list[Image.Image], tmp_path: Path) -> None:
    own = AutoModelForCausalLM.from_config(_LANGUAGES[kind]).eval()
    own.save_pretrained(tmp_path / "language")
    model, processor = build("tiny", words, language=tmp_path / "language")
    assert type(model.language_model) is type(own)
    hello = words("Hello", return_tensors="pt")
    expected = own(**hello).logits
    torch.testing.assert_close(model.eval()(**hello).logits[..., : expected.shape[-1]], expected)
    inputs = inputs_of(processor, asked(photos[0]), asked(photos[1]))
    said = model.generate(**inputs, max_new_tokens=6)
    model.save_pretrained(tmp_path / "captioner")
    processor.save_pretrained(tmp_path / "captioner")
    again, _ = load(tmp_path / "captioner")
    assert torch.equal(again.eval().generate(**inputs, max_new_tokens=6), said)
    tied = _LANGUAGES[kind].tie_word_embeddings
    assert (again.get_output_embeddings().weight is again.get_input_embeddings().weight) == tied


def test_embeddings_grow_for_the_picture_s_token_and_keep_the_others(words: Any, tmp_path: Path) -> None:
    own = AutoModelForCausalLM.from_config(LlamaConfig(**_SIZE, intermediate_size=64, vocab_size=len(words) - 1))
    own.save_pretrained(tmp_path)
    model, processor = build("tiny", words, language=tmp_path)
    same, _ = build("tiny", words, language=tmp_path)
    assert torch.equal(same.get_input_embeddings().weight, model.get_input_embeddings().weight)
    grown = model.get_input_embeddings().weight
    assert grown.shape == (448, 40) and model.config.text_config.vocab_size == 448  # a multiple of 64
    assert torch.equal(grown[: len(words) - 1], own.get_input_embeddings().weight)
    assert processor.image_token_id < 448


def test_eyes_of_a_whole_blip2_at_twice_their_resolution(
    blip2: tuple[Path, dict[str, torch.Tensor]], words: Any, photos: list[Image.Image]
) -> None:
    folder, weights = blip2
    model, processor = build("tiny", words, vision=folder, image_size=64)
    for name, parameter in model.vision_tower.named_parameters():
        expected = weights[name]
        if name == "embeddings.position_embedding":
            expected = resample_positions(expected, 64)
        assert torch.equal(parameter, expected), name
    inputs = inputs_of(processor, asked(photos[0]))
    assert inputs["pixel_values"].shape[-1] == 64
    assert model(**inputs).logits.isfinite().all()


def test_eyes_are_blip2_s_but_for_the_last_norm(blip2: tuple[Path, dict[str, torch.Tensor]], words: Any) -> None:
    from transformers import Blip2VisionModel

    folder, weights = blip2
    model, _ = build("tiny", words, vision=folder)
    theirs = Blip2VisionModel(model.config.vision_config).eval()
    theirs.load_state_dict(weights)
    theirs.post_layernorm = torch.nn.Identity()
    pixels = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    seen = model.eval().get_image_features(pixels)
    torch.testing.assert_close(seen.last_hidden_state, theirs(pixels).last_hidden_state[:, 1:])
    assert seen.pooler_output.shape == (1, 4 + 2, 32)
    assert torch.equal(seen.pooler_output[0, [0, -1]], torch.cat((model.flag_image_start, model.flag_image_end))[:, 0])


def test_parts_of_another_architecture_are_refused(words: Any, tmp_path: Path) -> None:
    AutoModelForCausalLM.from_config(_LANGUAGES["llama"]).save_pretrained(tmp_path)
    with pytest.raises(CaptionlakeError, match=r"lacks \d+ weights of a CaptionerVision"):
        build("tiny", words, vision=tmp_path)
    with pytest.raises(CaptionlakeError, match="nowhere cannot be loaded"):
        build("tiny", words, language=tmp_path / "nowhere")
    with pytest.raises(CaptionlakeError, match="holds a model of type llama, not a captioner"):
        load(tmp_path)
    with pytest.raises(
        CaptionlakeError, match="there is no captioner of size 'huge': sizes are tiny, small, base, full"
    ):
        build("huge", words)


def test_a_folder_that_is_not_whole_is_refused(captioner: tuple[Any, Any], tmp_path: Path) -> None:
    model, processor = captioner
    with pytest.raises(CaptionlakeError, match="nowhere"):
        load(tmp_path / "nowhere")
    model.save_pretrained(tmp_path, max_shard_size="100KB")
    processor.save_pretrained(tmp_path)
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 2
    kept = tmp_path / "kept"
    shutil.move(shards[0], kept)
    with pytest.raises(CaptionlakeError, match=shards[0].name):
        load(tmp_path)
    shutil.move(kept, shards[0])
    load(tmp_path)


def test_a_checkpoint_that_lost_a_weight_is_refused(captioner: tuple[Any, Any], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    for part in captioner:
        part.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["sampler.query"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CaptionlakeError, match=r"lacks 1 of its weights \(sampler.query\): it was not saved whole"):
        load(tmp_path)
