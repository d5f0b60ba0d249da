"""``SelectConfig``: the [select] table of a recipe. What is wrong in it is found when it is made, all at once."""

import re
from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import (
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.dataclasses import dataclass

Count = Annotated[StrictInt, Field(ge=0)]
Weight = Annotated[StrictFloat | StrictInt, Field(gt=0, le=1e9)]
Name = Annotated[str, Field(min_length=1)]

MOST_BITS = 12  # by which perceptual hashes may differ; past it, pictures that have nothing in common are pairs

_RELEASE = re.compile(r"[^@\s]+@[^@\s]+")


def _says_something(value: str | None, field: ValidationInfo) -> str | None:
    if value is not None and not value.strip():
        what = "a condition" if field.field_name == "where" else "columns"
        raise ValueError(f"{field.field_name} is empty: write {what}, or leave it out")
    return value


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class Part:
    """A share of a quota: of its rows those of ``subset`` where ``where`` holds, and that no part before it has taken.

    ``count`` of them, or the share that ``weight`` gives among the parts beside it; with parts of its own again. ``name`` is what
    tables and reasons call it; without one it is its subset, else its place.
    """

    name: Name | None = None
    subset: Name | None = None
    where: str | None = None
    count: Count | None = None
    weight: Weight | None = None
    order: str | None = None
    part: tuple["Part", ...] = ()

    _texts = field_validator("where", "order")(_says_something)

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.subset is None and self.where is None:
            raise ValueError("a part needs `subset` or `where`: say which rows are its own")
        _one_number(self.count, self.weight)
        _check_parts(self.count, self.weight, self.part)
        return self


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class Quota:
    """How many images of a collection: a ``count``, or a ``weight`` among the quotas beside it, of ``total``.

    ``where`` is a condition on these rows alone. ``order``: SQL expressions, as after ORDER BY, by which rows are drawn; ties, and
    all rows without it, by the seed. ``split`` says how many of each subset, ``part`` how many of each condition; no other row is
    taken then. ``backfill``: the collection that gives what this one lacks.
    """

    collection: Name
    count: Count | Literal["all"] | None = None
    weight: Weight | None = None
    where: str | None = None
    order: str | None = None
    split: dict[Name, Count] | None = None
    part: tuple[Part, ...] = ()
    backfill: Name | None = None

    _texts = field_validator("where", "order")(_says_something)

    @model_validator(mode="after")
    def _sound(self) -> Self:
        _one_number(self.count, self.weight)
        if self.split is not None and self.part:
            raise ValueError("`split` and [[select.quota.part]] both: write the split as parts with a `subset` each")
        if self.split is not None and not isinstance(self.count, int):
            raise ValueError('a split needs a number: set count to the sum of the split, not "all"')
        if self.split is not None and sum(self.split.values()) != self.count:
            raise ValueError(f"the split adds up to {sum(self.split.values())}, count is {self.count}: make them equal")
        if self.backfill == self.collection:
            raise ValueError(f"`backfill` names the collection itself, {self.backfill}: name another one")
        if self.backfill is not None and self.count == "all":
            raise ValueError('count = "all" lacks nothing: leave `backfill` out, or give a number')
        _check_parts(self.count, self.weight, self.part)
        return self


def _one_number(count: object, weight: object) -> None:
    if count is None and weight is None:
        raise ValueError("missing key `count`, or `weight`")
    if count is not None and weight is not None:
        raise ValueError("`count` and `weight` both: leave one out")


def _check_parts(count: int | Literal["all"] | None, weight: float | None, parts: tuple[Part, ...]) -> None:
    """Counts of parts make up their whole, or leave a rest for the weights."""
    if not parts:
        return
    counted = [part.count for part in parts if part.count is not None]
    if count == "all":
        raise ValueError('parts need a number: set count to their sum, not "all"')
    if weight is not None and counted:
        raise ValueError("the parts of a quota by weight take weights too")
    if count is not None and len(counted) == len(parts) and sum(counted) != count:
        raise ValueError(f"the parts add up to {sum(counted)}, count is {count}: make them equal")
    if count is not None and sum(counted) > count:
        raise ValueError(f"the counts of the parts add up to {sum(counted)}, more than the count of {count}")


def _twice(names: Iterable[str]) -> list[str]:
    names = list(names)
    return sorted({name for name in names if names.count(name) > 1})


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class SelectConfig:
    """Which images a release takes. Without a quota, everything that survives is taken.

    ``where`` is an SQL condition over ``images``; a row for which it is NULL is left out. With ``duplicate_threshold`` (a
    cosine) or ``duplicate_phash`` (bits by which perceptual hashes may differ) similar pictures are duplicates, else the same bytes
    alone; ``duplicates = "keep"`` looks for none, not even for those. Of two duplicates stays the one
    whose collection stands first in ``keep_order``; with ``keepers = "quota"``, before that, the one whose quota has less to
    choose from. ``decontaminate``: pictures that are known to be a benchmark's are left out, before duplicates are looked for.

    ``include``: releases whose rows come first, as keepers and in their quotas. ``exclude``: releases whose pictures, and with a
    threshold what is similar to them, are left out. ``order`` is for quotas without one of their own; ``total`` is shared out
    to the quotas that have a weight, after those that have a count.
    """

    seed: StrictInt = 0
    where: str | None = None
    order: str | None = None
    total: Count | None = None
    include: tuple[Name, ...] = ()
    exclude: tuple[Name, ...] = ()
    duplicates: Literal["drop", "keep"] = "drop"
    duplicate_threshold: Annotated[StrictFloat | StrictInt, Field(gt=0, le=1)] | None = None
    duplicate_phash: Annotated[StrictInt, Field(ge=0, le=MOST_BITS)] | None = None
    keepers: Literal["keep_order", "quota"] = "keep_order"
    keep_order: tuple[Name, ...] = ()
    decontaminate: StrictBool = True
    shortfall: Literal["error", "report"] = "error"
    quota: tuple[Quota, ...] = ()

    _texts = field_validator("where", "order")(_says_something)

    @property
    def looks_for_similar(self) -> bool:
        """Whether pictures can be duplicates that have not the same bytes."""
        return self.duplicate_threshold is not None or self.duplicate_phash is not None

    @field_validator("keep_order")
    @classmethod
    def _collections_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if twice := _twice(names):
            raise ValueError(f"{', '.join(twice)} stands twice: name each collection once")
        return names

    @field_validator("include", "exclude")
    @classmethod
    def _releases(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [name for name in names if not _RELEASE.fullmatch(name)]:
            raise ValueError(f"{', '.join(wrong)} is no release: write NAME@VERSION")
        return names

    @field_validator("quota")
    @classmethod
    def _one_quota_each(cls, quotas: tuple[Quota, ...]) -> tuple[Quota, ...]:
        if twice := _twice(quota.collection for quota in quotas):
            raise ValueError(f"{', '.join(twice)} has more than one quota: merge them")
        return quotas

    @model_validator(mode="after")
    def _sound(self) -> Self:
        for name in ("duplicate_threshold", "duplicate_phash"):
            if self.duplicates == "keep" and getattr(self, name) is not None:
                raise ValueError(f'duplicates = "keep" with a {name}: leave one of them out')
        if both := sorted(set(self.include) & set(self.exclude)):
            raise ValueError(f"{', '.join(both)} is to be included and excluded: leave it out of one")
        _check_total(self.total, self.quota)
        _check_backfill(self.quota)
        return self


def _check_total(total: int | None, quotas: tuple[Quota, ...]) -> None:
    weighted = [quota for quota in quotas if quota.weight is not None]
    if total is None:
        if weighted:
            raise ValueError(f"{weighted[0].collection} has a weight: say of how many in all, `total`")
        return
    if not quotas:
        raise ValueError("`total` is shared out to quotas: add [[select.quota]]")
    if whole := [quota.collection for quota in quotas if quota.count == "all"]:
        raise ValueError(f'`total` with count = "all" of {", ".join(whole)}: give it a number or a weight')
    counted = sum(quota.count for quota in quotas if isinstance(quota.count, int))
    if counted > total or (not weighted and counted != total):
        raise ValueError(f"the counts of the quotas add up to {counted}, `total` is {total}: make them equal")


def _check_backfill(quotas: tuple[Quota, ...]) -> None:
    givers = {quota.collection: quota.backfill for quota in quotas}
    for quota in quotas:
        if quota.backfill is not None and quota.backfill not in givers:
            raise ValueError(
                f"`backfill` of {quota.collection} names {quota.backfill}, which has no quota: give it one"
            )
        seen, at = [quota.collection], quota.backfill
        while at is not None and at not in seen:
            seen.append(at)
            at = givers[at]
        if at is not None:
            raise ValueError(f"`backfill` goes in a circle: {' -> '.join([*seen[seen.index(at) :], at])}")
