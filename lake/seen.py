"""What is found of a picture before it is stored: its id, its facts and its measures, by one decode."""

import hashlib
from dataclasses import dataclass

from captionlake.lake.measures import NSFW_SIDE, Nsfw, language
from captionlake.lake.pictures import Picture, PictureError, inspect_sized


@dataclass(frozen=True, slots=True)
class Seen:
    """``image_id`` is the SHA-256 of the bytes; ``alt_language`` that of the text which came with them."""

    image_id: str
    picture: Picture
    nsfw_score: float | None
    alt_language: str | None


def look(data: bytes, alt: str | None, nsfw: Nsfw | None) -> Seen | PictureError:
    """Decode, measure and hash a picture; ``alt`` is its alt text."""
    try:
        picture, image = inspect_sized(data, NSFW_SIDE if nsfw else None)
    except PictureError as error:
        return error
    score = nsfw.score(image) if nsfw and image else None
    return Seen(hashlib.sha256(data).hexdigest(), picture, score, language(alt))
