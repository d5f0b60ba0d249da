"""Who captions: ``[caption]`` of a recipe."""

from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

#: producers of captions that sources bring: their own texts, and the two captioners of ShareGPT4V's released files
BROUGHT = ("source", "gpt4-vision", "share-captioner")


def _in_this_version(captioner: str) -> str:
    if captioner not in BROUGHT:
        raise ValueError(f"can only be a producer of captions that sources bring in this version: {', '.join(BROUGHT)}")
    return captioner


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class CaptionConfig:
    """``captioner`` "source" takes the texts that came with the pictures, "gpt4-vision" or "share-captioner" those that the
    source ``sharegpt4v`` joined onto them. They ask no model, so that ``prompts`` and the budget (US dollars) bind nothing."""

    captioner: Annotated[str, AfterValidator(_in_this_version)]
    prompts: Annotated[str, Field(min_length=1)] | None = None
    max_cost_usd: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)] | None = None
