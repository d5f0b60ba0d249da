"""The quotas of a recipe as a flat list of leaves: each with the rows that are its own, and how many of them are wanted.

A row belongs to one leaf at most: to the quota of its collection, and there to the first part whose condition holds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from captionlake.curation.select_config import Part, Quota, SelectConfig
from captionlake.lake.catalog import quote


@dataclass(frozen=True, kw_only=True, slots=True)
class Leaf:
    """``path``: the collection, then the names of parts. ``conditions``: SQL over ``images``, all of which its rows meet.

    ``wanted`` is None for all. ``order`` is its own, or that of what it is a part of. ``quota`` is the place of its quota in the recipe.
    """

    quota: int
    path: tuple[str, ...]
    conditions: tuple[str, ...]
    wanted: int | None
    order: str | None

    @property
    def name(self) -> str:
        """``web/landmark``."""
        return "/".join(self.path)

    @property
    def subset(self) -> str | None:
        """The path below the collection, or None for the whole of it."""
        return "/".join(self.path[1:]) or None


def leaves(config: SelectConfig) -> list[Leaf]:
    """In the order of the recipe."""
    counts = [None if quota.count == "all" else quota.count for quota in config.quota]
    wanted = shares(config.total, counts, [quota.weight for quota in config.quota])
    return [
        leaf
        for number, (quota, count) in enumerate(zip(config.quota, wanted, strict=True))
        for leaf in _of_quota(number, quota, count, config.order)
    ]


def shares(total: int | None, counts: Sequence[int | None], weights: Sequence[float | None]) -> list[int | None]:
    """How many of ``total`` each gets: its count, or by weight its share of what the counts leave; None where it has neither.

    Shares are rounded by largest remainder (Hamilton's method), ties to the first, so that they add up.
    """
    if total is None or not any(weights):
        return list(counts)
    rest = total - sum(count or 0 for count in counts)
    exact = [Fraction(weight or 0) for weight in weights]
    quotients = [rest * weight / sum(exact) for weight in exact]
    found = [int(quotient) for quotient in quotients]
    by_remainder = sorted(range(len(found)), key=lambda n: (found[n] - quotients[n], n))
    for n in by_remainder[: rest - sum(found)]:
        found[n] += 1
    return [count if weight is None else share for count, weight, share in zip(counts, weights, found, strict=True)]


def _of_quota(number: int, quota: Quota, wanted: int | None, order: str | None) -> Iterator[Leaf]:
    parts = quota.part or tuple(Part(subset=subset, count=count) for subset, count in (quota.split or {}).items())
    whole = Leaf(
        quota=number,
        path=(quota.collection,),
        conditions=(f"collection = {quote(quota.collection)}",),
        wanted=wanted,
        order=quota.order or order,
    )
    return _of_parts(whole, parts)


def _of_parts(whole: Leaf, parts: Sequence[Part]) -> Iterator[Leaf]:
    if not parts:
        yield whole
        return
    wanted = shares(whole.wanted, [part.count for part in parts], [part.weight for part in parts])
    before: list[str] = []
    for place, (part, count) in enumerate(zip(parts, wanted, strict=True), 1):
        own = condition(part)
        leaf = Leaf(
            quota=whole.quota,
            path=(*whole.path, part.name or part.subset or f"part {place}"),
            conditions=(*whole.conditions, *(f"NOT {other}" for other in before), own),
            wanted=count,
            order=part.order or whole.order,
        )
        before.append(own)
        yield from _of_parts(leaf, part.part)


def condition(part: Part) -> str:
    """Of one row, true or false and never NULL. The user's text stands on lines of its own, so that its comments end there."""
    subset = [] if part.subset is None else [f"subset = {quote(part.subset)}"]
    where = [] if part.where is None else [f"CAST((\n{part.where}\n) AS BOOLEAN)"]
    return f"coalesce({' AND '.join([*subset, *where])}, false)"
