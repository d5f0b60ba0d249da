"""Samples to training examples, on real photographs; the model's processor is a tiny one."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPImageProcessor

from captionlake.errors import CaptionlakeError
from captionlake.lake.pictures import PictureError
from captionlake.models.data.sample import Sample, UnreadableSample
from captionlake.models.lmm import Prepare, image_tokens, random_lmm, use_template

from .toys import byte_level

_QUESTION = "Analyze the image in a comprehensive and detailed manner."


def _sample(*images: bytes, turns: Any = (("human", "<image>"), ("gpt", "A woman in orange."))) -> Sample:
    return Sample(7, "coco/000000000007", images, tuple(turns))


def _learned(processor: Any, prepared: dict[str, Any]) -> str:
    return str(processor.decode([label for label in prepared["labels"] if label != -100]))


def test_a_caption_is_asked_for_with_the_question(tiny: tuple[Any, Any], jpeg: bytes) -> None:
    _, processor = tiny
    prepared = Prepare(processor, "vicuna_v1", question=_QUESTION, max_text_tokens=2048)(_sample(jpeg))
    assert _learned(processor, prepared) == " A woman in orange.</s>"
    patches = image_tokens(processor)
    assert patches == 16 and prepared["input_ids"].count(processor.image_token_id) == patches
    assert f"<image> \n{_QUESTION} ASSISTANT:" in processor.decode(prepared["input_ids"])
    assert prepared["pixel_values"].shape == (1, 3, 32, 32)
    assert (prepared["has_image"], prepared["position"]) == (True, 7)
    assert prepared["length"] == len(prepared["input_ids"]) == len(prepared["labels"])


def test_training_and_chat_give_the_model_the_same(tiny: tuple[Any, Any], jpeg: bytes, photograph: Image.Image) -> None:
    _, processor = tiny
    prepared = Prepare(processor, "vicuna_v1", question=_QUESTION, max_text_tokens=2048)(_sample(jpeg))
    start = next(place for place, label in enumerate(prepared["labels"]) if label != -100)
    from captionlake.lake.pictures import open_rgb

    asked = [{"type": "text", "text": _QUESTION}, {"type": "image", "image": open_rgb(jpeg)}]
    messages = [{"role": "user", "content": asked}]
    inputs = processor.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    assert inputs["input_ids"][0].tolist() == prepared["input_ids"][:start]
    assert torch.equal(inputs["pixel_values"], prepared["pixel_values"])


def test_text_alone_and_several_pictures(tiny: tuple[Any, Any], jpeg: bytes) -> None:
    _, processor = tiny
    prepare = Prepare(processor, "vicuna_v1", question=None, max_text_tokens=2048)
    alone = prepare(_sample(turns=[("human", "Two and two?"), ("gpt", "Four.")]))
    assert "pixel_values" not in alone and alone["has_image"] is False
    turns = [
        ("human", "<image>\n<image>\nWhich?"),
        ("gpt", "The first."),
        ("human", "<image>\nAnd now?"),
        ("gpt", "This."),
    ]
    several = prepare(_sample(jpeg, jpeg, jpeg, turns=turns))
    assert several["pixel_values"].shape == (3, 3, 32, 32)
    assert several["input_ids"].count(processor.image_token_id) == 3 * image_tokens(processor)
    assert _learned(processor, several) == " The first.</s> This.</s>"


def test_for_plain_the_picture_is_cropped_and_else_padded(photograph: Image.Image, jpeg: bytes) -> None:
    model, processor = random_lmm("tiny", byte_level())
    padded = processor.image_processor(photograph, return_tensors="pt")["pixel_values"]
    # LLaVA's own: expand2square of its mm_utils.py, then CLIP's processor.
    clip = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    square = Image.new("RGB", (512, 512), tuple(int(255 * mean) for mean in clip.image_mean))
    square.paste(photograph, (0, (512 - 400) // 2))
    assert torch.equal(padded, clip(square, return_tensors="pt")["pixel_values"])
    use_template(model, processor, "plain")
    cropped = processor.image_processor(photograph, return_tensors="pt")["pixel_values"]
    assert torch.equal(cropped, clip(photograph, return_tensors="pt")["pixel_values"])
    prepared = Prepare(processor, "plain", question=_QUESTION, max_text_tokens=2048)(_sample(jpeg))
    assert processor.decode(prepared["input_ids"]) == "<image>" * 16 + " A woman in orange.\n"
    assert _learned(processor, prepared) == " A woman in orange.\n"


@pytest.mark.parametrize(
    ("sample", "limit", "message", "reason"),
    [
        (_sample(), 2048, "coco/000000000007 has 0 pictures and says <image> 1 times", "marks"),
        (_sample(turns=[("human", "a"), ("human", "b")]), 2048, "coco/000000000007: turn 2 is by 'human'", "turns"),
        (
            _sample(turns=[("human", "a"), ("gpt", "b")]),
            10,
            "coco/000000000007: no token of an answer",
            "nothing_to_learn",
        ),
        (_sample(turns=[("human", "a")]), 2048, "coco/000000000007: no token of an answer", "nothing_to_learn"),
    ],
)
def test_samples_that_cannot_be_used(
    tiny: tuple[Any, Any], sample: Sample, limit: int, message: str, reason: str
) -> None:
    with pytest.raises(UnreadableSample, match=message) as caught:
        Prepare(tiny[1], "vicuna_v1", question=None, max_text_tokens=limit)(sample)
    assert caught.value.reason == reason


def test_a_damaged_picture_is_no_blank_one(tiny: tuple[Any, Any], jpeg: bytes) -> None:
    prepare = Prepare(tiny[1], "vicuna_v1", question=None, max_text_tokens=2048)
    for damaged in (b"", b"no picture", jpeg[: len(jpeg) // 2]):
        with pytest.raises(PictureError):
            prepare(_sample(damaged))


def test_a_strip_that_would_fill_the_memory_is_refused(tiny: tuple[Any, Any]) -> None:
    import io

    out = io.BytesIO()
    Image.fromarray(np.zeros((1, 20_001), np.uint8)).save(out, "PNG")
    with pytest.raises(UnreadableSample, match="is 20001x1 pixels; up to 20,000 on a side are read"):
        Prepare(tiny[1], "vicuna_v1", question=None, max_text_tokens=2048)(_sample(out.getvalue()))


def test_a_template_that_the_tokenizer_cannot_write_is_refused_at_once() -> None:
    _, processor = random_lmm("tiny", byte_level(chat=False))
    with pytest.raises(CaptionlakeError, match="chatml needs the token"):
        Prepare(processor, "chatml", question=None, max_text_tokens=2048)
