"""A caption's key: picture, producer, the prompt's hash, and the parameters. Whoever has the key knows whether the caption is there."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from captionlake.lake.shards import Locator
from captionlake.models.prompts import Prompt


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
