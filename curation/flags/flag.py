"""What a check sees of a caption, and what it finds."""

from dataclasses import dataclass
from enum import StrEnum

Span = tuple[int, int]  # of characters of a text: from, to


class Flag(StrEnum):
    """A reason to look twice at a caption: the values of ``caption_flags.flag``."""

    REFUSAL = "refusal"
    HEDGING = "hedging"
    REPETITION = "repetition"
    CUT_OFF = "cut_off"
    LEAKED_PROMPT = "leaked_prompt"
    WRONG_LANGUAGE = "wrong_language"
    TOO_SHORT = "too_short"
    PERSONAL_DATA = "personal_data"
    CLIPSCORE_OUTLIER = "clipscore_outlier"
    CONTRADICTS_SOURCE = "contradicts_source"
    OMITS_SOURCE = "omits_source"


MADE = ("teacher", "captioner")  # kinds of captions that a model wrote in sentences, and at length


@dataclass(frozen=True, kw_only=True, slots=True)
class Caption:
    """A caption with what the lake knows beside it.

    ``prompt``: the text of the prompt that it answers, where that is known. ``objects``: the classes that COCO's instances name in its
    picture, ``references``: what people wrote of that picture, but for this text. ``ocr``: the strings that OCR read in it.
    None: nothing is known; an empty tuple: nothing is there.
    """

    text: str
    kind: str = "teacher"
    collection: str = ""
    finish_reason: str | None = None
    prompt: str | None = None
    objects: tuple[str, ...] | None = None
    references: tuple[str, ...] = ()
    ocr: tuple[str, ...] | None = None

    @property
    def is_made(self) -> bool:
        """Whether a model wrote it, so that it ought to be long and of whole sentences."""
        return self.kind in MADE


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """``detail`` says what was found, for people; ``spans`` where in the text it stands, if anywhere."""

    flag: Flag
    detail: str
    spans: tuple[Span, ...] = ()
