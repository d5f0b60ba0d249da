"""Who captions: ``[caption]`` of a recipe."""

from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass


def _in_this_version(captioner: str) -> str:
    if captioner != "source":
        raise ValueError('can only be "source" (the sources\' own texts) in this version')
    return captioner


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class CaptionConfig:
    """``captioner`` "source" takes the texts that came with the pictures. It asks no model, so that ``prompts`` and the
    budget (US dollars) bind nothing."""

    captioner: Annotated[str, AfterValidator(_in_this_version)]
    prompts: Annotated[str, Field(min_length=1)] | None = None
    max_cost_usd: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)] | None = None
