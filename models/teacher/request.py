"""One request: its body, and what it takes at most."""

import json

from captionlake.models.teacher.picture import Sent, billed_size, image_tokens
from captionlake.models.teacher.prices import Price
from captionlake.models.teacher.teacher_config import TeacherConfig

_CHARS_PER_TOKEN = 4
_FRAME_TOKENS = 32  # of the chat's own marks, at most


def body(config: TeacherConfig, prompt: str, picture: Sent) -> bytes:
    """The JSON of a chat completion, put together around the picture, which needs no escaping."""
    rest: dict[str, object] = {"model": config.model, config.max_tokens_key: config.max_tokens}
    if config.temperature is not None:
        rest["temperature"] = config.temperature
    if config.seed is not None:
        rest["seed"] = config.seed
    text = json.dumps({"type": "text", "text": prompt})
    return b"".join(
        (
            b'{"messages":[{"role":"user","content":[',
            text.encode(),
            b',{"type":"image_url","image_url":{"url":"',
            picture.url,
            f'","detail":"{config.detail}"}}}}]}}],'.encode(),
            json.dumps(rest)[1:].encode(),
        )
    )


def input_tokens(config: TeacherConfig, price: Price | None, prompt: str, width: int, height: int) -> int:
    """About how many tokens picture and prompt are: four characters one token."""
    return _image(config, price, *_sent_size(config, width, height)) + len(prompt) // _CHARS_PER_TOKEN


def most_input_tokens(config: TeacherConfig, price: Price | None, prompt: str, picture: Sent) -> int:
    """How many they are at most: a token is at least a byte."""
    return _image(config, price, picture.width, picture.height) + len(prompt.encode()) + _FRAME_TOKENS


def _sent_size(config: TeacherConfig, width: int, height: int) -> tuple[int, int]:
    return billed_size(width or 768, height or 768, config)


def _image(config: TeacherConfig, price: Price | None, width: int, height: int) -> int:
    if price is None:
        return image_tokens(width, height, config.detail)
    base, tile = price.image_base_tokens, price.image_tile_tokens
    return image_tokens(width, height, config.detail, base=base, tile=tile)
