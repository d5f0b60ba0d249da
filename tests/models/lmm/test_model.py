"""The built model as it is used: padding, cache, batches. Weights are tiny and random."""

import pickle
from typing import Any

import pytest
import torch
from PIL import Image

from captionlake.models.captioner import build as build_captioner
from captionlake.models.captioner import train_tokenizer
from captionlake.models.data.sample import Sample
from captionlake.models.lmm import Prepare, image_tokens


@pytest.fixture
def asked(tiny: tuple[Any, Any], photograph: Image.Image) -> dict[str, torch.Tensor]:
    """Three prompts of unlike length, one of them without a picture, padded on the left as for generation."""
    words = ["What is it?", "Say all that there is to be said of this picture, in one long sentence.", "Two and two?"]
    messages = [
        [
            {
                "role": "user",
                "content": [{"type": "image", "image": photograph}] * (place < 2) + [{"type": "text", "text": text}],
            }
        ]
        for place, text in enumerate(words)
    ]
    inputs = tiny[1].apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
        processor_kwargs={"padding": True},
    )  # fmt: skip
    assert inputs["attention_mask"][0, 0] == 0 and inputs["attention_mask"][1].all()
    assert inputs["pixel_values"].shape[0] == 2
    return dict(inputs)


def test_left_and_right_padding_agree(tiny: tuple[Any, Any], asked: dict[str, torch.Tensor]) -> None:
    model, _ = tiny
    mask = asked["attention_mask"].bool()
    right = {"pixel_values": asked["pixel_values"]}
    for name in ("input_ids", "attention_mask"):
        right[name] = torch.zeros_like(asked[name])
        for row, kept in enumerate(mask):
            right[name][row, : kept.sum()] = asked[name][row, kept]
    positions = (asked["attention_mask"].cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        one = model(**asked, position_ids=positions).logits[mask]
        other = model(**right).logits[right["attention_mask"].bool()]
    assert torch.allclose(one, other, atol=1e-5)


def test_cached_and_batched_decoding_equal_uncached_and_alone(
    tiny: tuple[Any, Any], asked: dict[str, torch.Tensor]
) -> None:
    model, _ = tiny
    long = {"max_new_tokens": 12, "min_new_tokens": 12}
    cached = model.generate(**asked, **long)
    assert torch.equal(cached, model.generate(**asked, **long, use_cache=False))
    for row, kept in enumerate(asked["attention_mask"].bool()):
        alone = {name: asked[name][row : row + 1, kept] for name in ("input_ids", "attention_mask")}
        if row < 2:
            alone["pixel_values"] = asked["pixel_values"][row : row + 1]
        assert torch.equal(model.generate(**alone, **long)[0, kept.sum() :], cached[row, len(kept) :])
    assert not (cached[:, asked["input_ids"].shape[1] :] == model.config.image_token_id).any()


def test_workers_of_a_loader_can_be_handed_the_transform(tiny: tuple[Any, Any], jpeg: bytes) -> None:
    prepare = Prepare(tiny[1], "vicuna_v1", question="What?", max_text_tokens=512)
    sample = Sample(0, "a", (jpeg,), (("human", "<image>"), ("gpt", "A woman.")))
    again = pickle.loads(pickle.dumps(prepare))  # noqa: S301
    assert again(sample)["input_ids"] == prepare(sample)["input_ids"]


def test_placeholders_of_either_family(tiny: tuple[Any, Any], jpeg: bytes) -> None:
    captioner, processor = build_captioner("tiny", train_tokenizer(["A woman."], 300))
    assert image_tokens(processor) == captioner.config.num_image_tokens
    prepare = Prepare(processor, "share_captioner", question="What?", max_text_tokens=256)
    prepared = prepare(Sample(0, "a", (jpeg,), (("human", "<image>"), ("gpt", "A woman."))))
    assert prepared["input_ids"].count(processor.image_token_id) == image_tokens(processor)
    learned = [label for label in prepared["labels"] if label != -100]
    assert processor.tokenizer.decode(learned) == "A woman.</s>"
    batch = {name: torch.tensor([prepared[name]]) for name in ("input_ids", "labels")}
    assert captioner(**batch, pixel_values=prepared["pixel_values"]).loss > 0
