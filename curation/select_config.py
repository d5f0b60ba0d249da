"""``SelectConfig``: the [select] table of a recipe. What is wrong in it is found when it is made, all at once."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, StrictBool, StrictFloat, StrictInt, field_validator, model_validator
from pydantic.dataclasses import dataclass

Count = Annotated[StrictInt, Field(ge=0)]
Name = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class Quota:
    """How many images of a collection; ``split`` says how many of each subset, and then no other subset is taken."""

    collection: Name
    count: Count | Literal["all"]
    split: dict[Name, Count] | None = None

    @model_validator(mode="after")
    def _split_adds_up(self) -> Self:
        if self.split is not None and self.count == "all":
            raise ValueError('a split needs a number: set count to the sum of the split, not "all"')
        if self.split is not None and sum(self.split.values()) != self.count:
            raise ValueError(f"the split adds up to {sum(self.split.values())}, count is {self.count}: make them equal")
        return self


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class SelectConfig:
    """Which images a release takes. Without a quota, everything that survives is taken.

    ``where`` is an SQL condition over ``images``; a row for which it is NULL is left out. Without
    ``duplicate_threshold`` only the same bytes count as duplicates. ``keep_order``: collections whose picture stays
    when two are duplicates, best first. ``duplicates = "keep"`` looks for none, not even for the same bytes. ``decontaminate``:
    pictures that are known to be a benchmark's are left out, before duplicates are looked for.
    """

    seed: StrictInt = 0
    where: str | None = None
    duplicates: Literal["drop", "keep"] = "drop"
    duplicate_threshold: Annotated[StrictFloat | StrictInt, Field(gt=0, le=1)] | None = None
    keep_order: tuple[Name, ...] = ()
    decontaminate: StrictBool = True
    shortfall: Literal["error", "report"] = "error"
    quota: tuple[Quota, ...] = ()

    @field_validator("where")
    @classmethod
    def _where_says_something(cls, where: str | None) -> str | None:
        if where is not None and not where.strip():
            raise ValueError("where is empty: write a condition, or leave it out")
        return where

    @field_validator("keep_order")
    @classmethod
    def _collections_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{', '.join(twice)} stands twice: name each collection once")
        return names

    @field_validator("quota")
    @classmethod
    def _one_quota_each(cls, quotas: tuple[Quota, ...]) -> tuple[Quota, ...]:
        names = [quota.collection for quota in quotas]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{', '.join(twice)} has more than one quota: merge them")
        return quotas

    @model_validator(mode="after")
    def _a_threshold_is_for_dropping(self) -> Self:
        if self.duplicates == "keep" and self.duplicate_threshold is not None:
            raise ValueError('duplicates = "keep" with a duplicate_threshold: leave one of them out')
        return self
