"""``ModelConfig``: the [model] table of a training recipe."""

import re
from typing import Annotated, Self

from pydantic import ConfigDict, Field, StrictInt, field_validator, model_validator
from pydantic.dataclasses import dataclass

from captionlake.models.training.data_config import Name

Rate = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]

_PART = re.compile(r"vision|vision:\d+-|vision\.\d+|sampler|projector|language")


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class ModelConfig:
    """``start``: a checkpoint to go on from; or a new model: of a ``size`` with random weights, or around the weights of ``vision`` and
    ``language`` (folders, names on the Hub, a GGUF file for ``language``), with those of ``projector`` where it is given.

    ``tokenizer``: of a new model without ``language``; left out, one is learned from the release's texts. ``image_size``: pixels of
    a captioner's pictures; its position embeddings are resampled to it. ``trained``: parts as ``models.parts`` names them, by the
    stage where it is left out. ``vision_lr``: where the vision tower learns at a rate of its own.
    """

    start: Name | None = None
    size: Name | None = None
    vision: Name | None = None
    language: Name | None = None
    projector: Name | None = None
    tokenizer: Name | None = None
    image_size: Annotated[StrictInt, Field(ge=1)] | None = None
    trained: tuple[Name, ...] | None = None
    vision_lr: Rate | None = None

    @field_validator("trained")
    @classmethod
    def _parts(cls, trained: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if trained is not None and not trained:
            raise ValueError("is empty: name what is to be trained, or leave it out")
        for part in trained or ():
            if not _PART.fullmatch(part):
                raise ValueError(
                    f'"{part}" is no part of a model: write vision, vision:12- (blocks from 12 on), sampler, projector or language'
                )
        return trained

    @model_validator(mode="after")
    def _sound(self) -> Self:
        new = [
            key for key in ("size", "vision", "language", "projector", "tokenizer") if getattr(self, key) is not None
        ]
        if self.start is not None and new:
            raise ValueError(
                f"`start` goes on from a whole checkpoint, and `{new[0]}` makes a new model: leave one out"
            )
        if self.start is None and self.size is None and (self.vision is None or self.language is None):
            raise ValueError("what to train is not named: give `start`, or `size`, or `vision` and `language`")
        return self
