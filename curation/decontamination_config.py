"""``DecontaminateConfig``: the [decontaminate] table of a recipe."""

from typing import Annotated, Self

from pydantic import ConfigDict, Field, StrictFloat, StrictInt, model_validator
from pydantic.dataclasses import dataclass

THRESHOLD = 0.95
PHASH_DISTANCE = 4  # see docs/decontamination.md for what it finds and what it takes wrongly


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class DecontaminateConfig:
    """Against which benchmarks the lake is compared, and from where on a picture counts as the benchmark's.

    ``against``: folders of pictures, or the benchmarks' own files. ``benchmark`` names the benchmark of a single one.
    ``threshold`` is a cosine, ``phash_distance`` a number of bits of 64.
    """

    against: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]
    benchmark: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    threshold: Annotated[StrictFloat | StrictInt, Field(gt=0, le=1)] = THRESHOLD
    phash_distance: Annotated[StrictInt, Field(ge=0, le=16)] = PHASH_DISTANCE

    @model_validator(mode="after")
    def _one_name_for_one(self) -> Self:
        if self.benchmark is not None and len(self.against) > 1:
            raise ValueError("benchmark names the benchmark of one folder: give one, or leave the name out")
        return self
