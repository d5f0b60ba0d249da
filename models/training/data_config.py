"""``DataConfig``: the [data] table of a training recipe."""

from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, StrictInt
from pydantic.dataclasses import dataclass

from captionlake.lake.releases.config import check_name, check_version

Name = Annotated[str, Field(min_length=1)]


def _label(label: str) -> str:
    name, at, version = label.partition("@")
    if not at:
        raise ValueError("should be a release: write NAME@VERSION")
    check_name(name)
    check_version(version)
    return label


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class DataConfig:
    """What is learned from. ``split``: of the release; ``template``: how a conversation is written, by the stage where it is left out;
    ``question``: what is asked about the pictures of a release of images; ``max_length``: tokens of text of a sample, a picture
    counted as one; what is over is cut off."""

    release: Annotated[str, AfterValidator(_label)]
    split: Name | None = "train"
    template: Name | None = None
    question: Name | None = None
    max_length: Annotated[StrictInt, Field(ge=8)] = 2048
