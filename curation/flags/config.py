"""``FlagConfig``: the [flags] table of a recipe."""

import hashlib
import json
from typing import Annotated

from pydantic import ConfigDict, Field, StrictFloat, StrictInt, field_validator
from pydantic.dataclasses import dataclass

from captionlake.curation.flags.flag import Flag

Share = Annotated[StrictFloat | StrictInt, Field(ge=0, le=1)]
Number = Annotated[StrictInt, Field(ge=0, le=100_000)]

# Words. ShareGPT4V's captions have about 160, of every collection; one of a third of that has left out most of its picture.
MINIMUM_WORDS = {"coco": 50, "lcs": 50, "sam": 50, "textcaps": 40, "wikiart": 40, "web": 40}
MINIMUM_ELSE = 30

# What of the configuration decides about a flag.
_READ: dict[Flag, tuple[str, ...]] = {
    Flag.HEDGING: ("hedging_share", "hedging_sentences"),
    Flag.REPETITION: ("repeat_times", "repeat_words"),
    Flag.WRONG_LANGUAGE: ("language", "language_letters"),
    Flag.TOO_SHORT: ("minimum_words", "minimum_else"),
    Flag.PERSONAL_DATA: ("phone_regions",),
    Flag.CONTRADICTS_SOURCE: ("contradicting_objects", "unread_share"),
    Flag.OMITS_SOURCE: ("named_objects_share", "named_text_share", "omits_from_words"),
}


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class FlagConfig:
    """Which flags are looked for, and from where on each is given.

    ``hedging_share``: of the sentences, more than which must hedge, in a text of ``hedging_sentences`` or more.
    ``repeat_times``: how often a sentence, or ``repeat_words`` words in a row, must stand in a text. ``language``: ISO 639-1, of
    pieces with ``language_letters`` letters. ``minimum_words``: by collection, put over the defaults; ``minimum_else``: of all others.
    ``phone_regions``: whose numbers are known without a country code (ISO 3166). ``clipscore_z``: how far below the median, in robust
    standard deviations. ``contradicting_objects``: how many classes that the picture has not must be named. ``unread_share``: of the
    quoted words, how many OCR must not have read. ``named_objects_share`` and ``named_text_share``: of the annotated classes
    and strings, below which a text of ``omits_from_words`` words omits its source.
    """

    flags: Annotated[tuple[Flag, ...], Field(min_length=1)] = tuple(Flag)
    hedging_share: Share = 0.4
    hedging_sentences: Annotated[StrictInt, Field(ge=1)] = 3
    repeat_times: Annotated[StrictInt, Field(ge=2)] = 3
    repeat_words: Annotated[StrictInt, Field(ge=2, le=50)] = 6
    language: Annotated[str, Field(pattern=r"^[a-z]{2}$")] = "en"
    language_letters: Annotated[StrictInt, Field(ge=20, le=240)] = 80
    minimum_words: dict[Annotated[str, Field(min_length=1)], Number] = Field(default_factory=dict)
    minimum_else: Number = MINIMUM_ELSE
    phone_regions: tuple[Annotated[str, Field(pattern=r"^[A-Z]{2}$")], ...] = ("US",)
    clipscore_z: Annotated[StrictFloat | StrictInt, Field(gt=0)] = 3.5
    contradicting_objects: Annotated[StrictInt, Field(ge=1)] = 1
    unread_share: Share = 0.75
    named_objects_share: Share = 0.5
    named_text_share: Share = 0.2
    omits_from_words: Number = 30

    @field_validator("flags")
    @classmethod
    def _each_once(cls, flags: tuple[Flag, ...]) -> tuple[Flag, ...]:
        return tuple(flag for flag in Flag if flag in flags)

    def least_words(self, collection: str) -> int:
        """The fewest words of a caption of this collection."""
        known = self.minimum_words.get(collection)
        return MINIMUM_WORDS.get(collection, self.minimum_else) if known is None else known

    def fingerprint(self, flag: Flag, version: int) -> str:
        """Of all that decides about a flag: the checker's version, and what it reads of the configuration."""
        read = {name: getattr(self, name) for name in _READ.get(flag, ())}
        said = json.dumps([str(flag), version, read, MINIMUM_WORDS if flag == Flag.TOO_SHORT else None], sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()[:12]
