"""One request: the caption it is to bring, its body, and what it takes at most."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from captionlake.lake.shards import Locator
from captionlake.models.prompts import Prompt
from captionlake.models.teacher.picture import Sent, billed_size, image_tokens
from captionlake.models.teacher.prices import Price
from captionlake.models.teacher.teacher_config import TeacherConfig

_CHARS_PER_TOKEN = 4
_FRAME_TOKENS = 32  # of the chat's own marks, at most


@dataclass(frozen=True, slots=True)
class Wanted:
    """A caption that is to be there: its id is made of its key, and says whether it is."""

    caption_id: str
    image_id: str
    prompt: Prompt
    locator: Locator | None
    width: int
    height: int


def canonical(value: object) -> str:
    """JSON that is the same for the same value."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def caption_key(image_id: str, producer: str, prompt_sha256: str, params: str) -> str:
    """The ``caption_id`` of a key: SHA-256, hex."""
    return hashlib.sha256(canonical([image_id, producer, prompt_sha256, params]).encode()).hexdigest()


def wanted(row: Mapping[str, Any], prompt: Prompt, producer: str, params: str) -> Wanted:
    """The caption of a row; ``shard, row, offset, n_bytes`` and ``width, height`` are used where it has them."""
    at: list[Any] = [row.get(name) for name in ("shard", "row", "offset", "n_bytes")]
    return Wanted(
        caption_id=caption_key(row["image_id"], producer, prompt.sha256, params),
        image_id=row["image_id"],
        prompt=prompt,
        locator=Locator(*at) if all(each is not None for each in at) else None,
        width=int(row.get("width") or 0),
        height=int(row.get("height") or 0),
    )


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
