"""A tiny captioner of random weights (84,000 of them), its words, and real photographs in small."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from captionlake.models.captioner import build, train_tokenizer

PROSE = Path(__file__).parents[3] / "docs" / "captions.md"


@pytest.fixture(scope="session")
def photos() -> list[Image.Image]:
    """A cat, a cup of coffee and a portrait, none of them square, 96 pixels wide."""
    import skimage.data

    pictures = []
    for name, crop in (("chelsea", (300, 400)), ("coffee", (400, 300)), ("astronaut", (512, 256))):
        array = getattr(skimage.data, name)()[: crop[0], : crop[1]]
        pictures.append(Image.fromarray(array).resize((96, 96 * crop[0] // crop[1])))
    return pictures


@pytest.fixture(scope="session")
def words() -> Any:
    """A tokenizer trained on a page of this repository's prose."""
    return train_tokenizer([PROSE.read_text()], 400)


@pytest.fixture
def captioner(words: Any) -> tuple[Any, Any]:
    """(model, processor), new for each test, in evaluation mode."""
    model, processor = build("tiny", words)
    return model.eval(), processor


def asked(*pictures: Image.Image, text: str = "What is this?") -> list[dict[str, Any]]:
    """One question about pictures, as messages."""
    shown = [{"type": "image", "image": picture} for picture in pictures]
    return [{"role": "user", "content": [*shown, {"type": "text", "text": text}]}]


def inputs_of(processor: Any, *conversations: list[dict[str, Any]]) -> dict[str, Any]:
    """Padded tensors of conversations, up to where the answer begins."""
    return dict(
        processor.apply_chat_template(
            list(conversations),
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        )
    )
