"""``MixConfig``: the [mix] table of a mix recipe. What is wrong in it is found when it is made, all at once."""

import re
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, StrictInt, field_validator, model_validator
from pydantic.dataclasses import dataclass

Count = Annotated[StrictInt, Field(ge=0)]
Name = Annotated[str, Field(min_length=1)]

_RELEASE = re.compile(r"[^@\s]+@[^@\s]+")


def _groups() -> dict[str, tuple[str, ...]]:
    return {"diverse": ("textcaps", "wikiart", "web")}


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class Replace:
    """What stands in the place of the detailed captions: those of a release of images, by ``producer``, a conversation each.

    ``count`` of them, or as ``quotas`` say by collection, or by a name of ``groups`` for several together. Which ones, the mix's seed
    decides. ``truncate``: each is cut so that their mean length meets this many characters, at the end of a word or sentence.
    """

    captions: Name
    producer: Name = "gpt4-vision"
    count: Count | Literal["all"] | None = None
    quotas: dict[Name, Count] | None = None
    groups: dict[Name, tuple[Name, ...]] = Field(default_factory=_groups)
    truncate: Annotated[StrictInt, Field(ge=1)] | None = None
    at: Literal["word", "sentence"] = "word"
    shortfall: Literal["error", "report"] = "error"

    @field_validator("captions")
    @classmethod
    def _a_release(cls, label: str) -> str:
        if not _RELEASE.fullmatch(label):
            raise ValueError("should be a release: write NAME@VERSION")
        return label

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.count is None and self.quotas is None:
            raise ValueError("missing key `count`, or `quotas`")
        if self.count is not None and self.quotas is not None:
            raise ValueError("`count` and `quotas` both: leave one out")
        named = [c for quota in self.quotas or {} for c in self.groups.get(quota, (quota,))]
        if twice := sorted({name for name in named if named.count(name) > 1}):
            raise ValueError(f"{', '.join(twice)} has a quota of its own and one in a group: leave one out")
        return self


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class MixConfig:
    """``base``: the file of conversations. Its detailed captions are those of ``detail``, LLaVA's detail_23k.json, or the single answers
    on pictures of COCO whose question is in ``questions``, a file of one a line. Without ``replace`` the mix is the base as it is.

    ``order``: that of the base, with what replaces the detailed captions in their places; or shuffled by the seed.
    """

    base: Name
    detail: Name | None = None
    questions: Name | None = None
    order: Literal["preserve", "shuffle"] = "preserve"
    seed: StrictInt = 0
    replace: Replace | None = None

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.detail is not None and self.questions is not None:
            raise ValueError("`detail` and `questions` both: leave one out")
        if self.replace is not None and self.detail is None and self.questions is None:
            raise ValueError("[mix.replace] needs to know what to replace: add `detail`, or `questions`")
        return self
