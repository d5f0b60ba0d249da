"""Parts of a model and what is trained of them. The towers and language models are tiny and random."""

import pytest
import torch
from torch import nn
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, SiglipVisionConfig

from captionlake.errors import CaptionlakeError
from captionlake.models.captioner import build, train_tokenizer
from captionlake.models.parts import freeze_all_but, parts_of

_SIZE = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
_IMAGE = 59
_TOWERS = {
    "clip": CLIPVisionConfig(**_SIZE, num_hidden_layers=4, image_size=16, patch_size=8),
    "siglip": SiglipVisionConfig(**_SIZE, num_hidden_layers=4, image_size=16, patch_size=8),
}


def _llava(tower: str, *, feature_layer: int = -2, tied: bool = False) -> LlavaForConditionalGeneration:
    torch.manual_seed(0)
    text = LlamaConfig(**_SIZE, num_hidden_layers=2, vocab_size=60, tie_word_embeddings=tied)
    config = LlavaConfig(
        vision_config=_TOWERS[tower],
        text_config=text,
        image_token_index=_IMAGE,
        vision_feature_layer=feature_layer,
        vision_feature_select_strategy="default" if tower == "clip" else "full",
    )
    return LlavaForConditionalGeneration(config)


def _backward(model: nn.Module) -> None:
    input_ids = torch.tensor([[1, *[_IMAGE] * 4, 5, 6, 7]])
    model(input_ids=input_ids, pixel_values=torch.randn(1, 3, 16, 16), labels=input_ids).loss.backward()


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("tower", ["clip", "siglip"])
def test_each_parameter_is_in_one_part(tower: str, tied: bool) -> None:
    model = _llava(tower, tied=tied)
    parts = parts_of(model)
    whole = [id(one) for name, part in parts.items() if not name.startswith("vision.") for one in part]
    assert sorted(whole) == sorted(id(one) for one in model.parameters())
    assert list(parts) == ["vision", "projector", "language", "vision.0", "vision.1", "vision.2", "vision.3"]
    in_blocks = {id(one) for name, part in parts.items() if name.startswith("vision.") for one in part}
    assert in_blocks < {id(one) for one in parts["vision"]}


@pytest.mark.parametrize(
    "trained",
    [["vision:2-", "projector", "language"], ["projector", "language"], ["projector"], ["vision"], ["vision.1"]],
)
@pytest.mark.parametrize("feature_layer", [-2, -1, 3])
@pytest.mark.parametrize("tower", ["clip", "siglip"])
def test_exactly_what_is_trained_gets_a_gradient(tower: str, feature_layer: int, trained: list[str]) -> None:
    model = _llava(tower, feature_layer=feature_layer)
    freeze_all_but(model, trained)
    _backward(model)
    got = {name for name, one in model.named_parameters() if one.grad is not None}
    assert got == {name for name, one in model.named_parameters() if one.requires_grad}
    blocks = sorted(
        {int(name.split(".layers.")[1][0]) for name in got if "vision_tower" in name and ".layers." in name}
    )
    last = 3 if feature_layer == -1 else 2
    expected = {"vision:2-": [*range(2, last + 1)], "vision": [*range(last + 1)], "vision.1": [1]}
    assert blocks == expected.get(trained[0], [])
    assert any("projector" in name for name in got) == ("projector" in trained)
    assert any("language_model" in name or "lm_head" in name for name in got) == ("language" in trained)


@pytest.mark.parametrize("trained", [["sampler", "projector"], ["vision:1-", "language"], ["vision", "projector"]])
def test_parts_of_a_captioner(trained: list[str]) -> None:
    model, processor = build("tiny", train_tokenizer(["a cat"], 300))
    parts = parts_of(model)
    whole = [id(one) for name, part in parts.items() if not name.startswith("vision.") for one in part]
    assert sorted(whole) == sorted(id(one) for one in model.parameters())
    assert list(parts) == ["vision", "sampler", "projector", "language", "vision.0", "vision.1"]
    freeze_all_but(model, trained)
    picture = [processor.image_token_id] * processor.num_image_tokens
    input_ids = torch.tensor([[1, *picture, 5, 6, 7]])
    model(input_ids=input_ids, pixel_values=torch.randn(1, 3, 32, 32), labels=input_ids).loss.backward()
    got = {name for name, one in model.named_parameters() if one.grad is not None}
    assert got and got == {name for name, one in model.named_parameters() if one.requires_grad}


def test_freezing_again_replaces_what_was_trained() -> None:
    model = _llava("clip")
    freeze_all_but(model, ["projector"])
    freeze_all_but(model, ["language"])
    parts = parts_of(model)
    assert not any(one.requires_grad for one in parts["projector"]) and all(
        one.requires_grad for one in parts["language"]
    )


@pytest.mark.parametrize(
    ("trained", "message"),
    [
        (["vission"], "the model has no part 'vission': there are vision, projector, language, and vision:N-"),
        (["vision:3-"], "vision:3- trains nothing: the blocks of the vision tower that reach the loss are 0 to 2"),
        (["vision.3"], "vision.3 trains nothing"),
        (["vision:12-"], "vision:12- trains nothing"),
    ],
)
def test_what_cannot_be_trained_is_named(trained: list[str], message: str) -> None:
    with pytest.raises(CaptionlakeError, match=message):
        freeze_all_but(_llava("clip"), trained)


def test_a_model_of_another_kind_is_refused() -> None:
    with pytest.raises(CaptionlakeError, match="a model of type Linear has no parts known here: known are llava"):
        parts_of(nn.Linear(2, 2))
