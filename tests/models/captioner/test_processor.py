"""Messages and pictures to tensors; the prompt in use is the prompt in training."""

import base64
import io
from typing import Any

import pytest
import torch
from PIL import Image

from captionlake.models.captioner import UNIFIED_PROMPT
from captionlake.models.lmm.encoding import encode
from captionlake.models.lmm.templates import template_of

from .conftest import asked, inputs_of

Captioner = tuple[Any, Any]


def test_the_prompt_is_the_authors_with_the_tokenizer_s_own_end(
    captioner: Captioner, photos: list[Image.Image]
) -> None:
    _, processor = captioner
    ids = inputs_of(processor, asked(photos[0], text=UNIFIED_PROMPT))["input_ids"][0]
    assert processor.num_image_tokens == 4 + 2
    assert processor.tokenizer.decode(ids) == (
        "<|User|>:" + "<image>" * 6 + " Analyze the image in a comprehensive and detailed manner.</s>\n<|Bot|>:"
    )


@pytest.mark.parametrize("pictures", [0, 1, 3])
def test_it_is_asked_as_it_is_trained(captioner: Captioner, photos: list[Image.Image], pictures: int) -> None:
    _, processor = captioner
    read = inputs_of(processor, asked(*photos[:pictures], text=UNIFIED_PROMPT))["input_ids"][0].tolist()
    trained = encode(
        [("human", "<image>" * pictures + UNIFIED_PROMPT), ("gpt", "A cat.")],
        template_of("share_captioner"),
        processor.tokenizer,
        image_tokens=processor.num_image_tokens,
        image_token_id=processor.image_token_id,
        max_text_tokens=2048,
    )
    assert trained.input_ids[: len(read)] == read
    assert all(label == -100 for label in trained.labels[: len(read)])


def test_several_rounds_and_openai_s_form_of_a_picture(captioner: Captioner, photos: list[Image.Image]) -> None:
    _, processor = captioner
    png = io.BytesIO()
    photos[0].save(png, "PNG")
    url = "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()
    rounds = [
        {"role": "user", "content": [{"type": "text", "text": "What is it?"}, {"type": "image", "url": url}]},
        {"role": "assistant", "content": [{"type": "text", "text": "A cat."}]},
        {"role": "user", "content": [{"type": "text", "text": "And its colour?"}]},
    ]
    inputs = inputs_of(processor, rounds)
    assert processor.tokenizer.decode(inputs["input_ids"][0]) == (
        "<|User|>:" + "<image>" * 6 + " What is it?</s>\n<|Bot|>:A cat.</s>\n<|User|>:And its colour?</s>\n<|Bot|>:"
    )
    assert torch.equal(inputs["pixel_values"], inputs_of(processor, asked(photos[0]))["pixel_values"])


def test_pictures_are_stretched_whole_to_the_square(captioner: Captioner) -> None:
    _, processor = captioner
    halves = Image.new("RGB", (200, 50), "black")
    halves.paste("white", (100, 0, 200, 50))
    pixels = inputs_of(processor, asked(halves))["pixel_values"][0]
    assert pixels.shape == (3, 32, 32)
    assert (pixels[:, :, :14] < 0).all() and (pixels[:, :, 18:] > 0).all()
    processor.resize(64)
    assert inputs_of(processor, asked(halves))["pixel_values"].shape == (1, 3, 64, 64)


def test_a_picture_too_few_is_refused_before_the_model(captioner: Captioner, photos: list[Image.Image]) -> None:
    _, processor = captioner
    with pytest.raises(ValueError, match="number of <image> tokens"):
        processor(images=[photos[0]], text="<image> and <image>")
