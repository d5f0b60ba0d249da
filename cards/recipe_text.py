"""What a release's stored recipe asked for, read leniently: a card must be writable for any release, however it was made."""

import re
import tomllib
from dataclasses import dataclass, field
from typing import Any

from captionlake.cards.facts import Facts

_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")


@dataclass(frozen=True, slots=True)
class Asked:
    """One line of the quotas: a collection (or one subset of it) and how many of it were asked for."""

    collection: str
    subset: str | None
    count: int | str


@dataclass(frozen=True, slots=True)
class RecipeText:
    """``text`` whole; ``readable`` where it is TOML. The tables are empty where the recipe has none."""

    text: str
    readable: bool
    embed: dict[str, Any] = field(default_factory=dict)
    select: dict[str, Any] = field(default_factory=dict)
    caption: dict[str, Any] = field(default_factory=dict)
    card: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> "RecipeText":
        """Read the TOML; what is of an unexpected kind is left out."""
        try:
            data = tomllib.loads(text.removeprefix("\ufeff").replace("\r\n", "\n"))
        except (ValueError, RecursionError):
            return cls(text, False)
        parts = {name: data.get(name) for name in ("embed", "select", "caption", "card")}
        return cls(text, bool(data), **{name: part if isinstance(part, dict) else {} for name, part in parts.items()})

    @property
    def title(self) -> str | None:
        """``[card] title``."""
        return _text(self.card.get("title"))

    @property
    def language(self) -> str | None:
        """``[card] language``: a statement of the recipe, nothing measured."""
        code = _text(self.card.get("language"))
        return code if code and _LANGUAGE.fullmatch(code) else None

    @property
    def threshold(self) -> float | None:
        """``[select] duplicate_threshold``; None: no pictures were compared by cosine."""
        value = self.select.get("duplicate_threshold")
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    @property
    def phash(self) -> int | None:
        """``[select] duplicate_phash``; None: no perceptual hashes were compared."""
        value = self.select.get("duplicate_phash")
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    @property
    def where(self) -> str | None:
        """``[select] where``: the condition on single rows."""
        return _text(self.select.get("where"))

    @property
    def seed(self) -> int:
        """``[select] seed``, 0 where the recipe has none."""
        value = self.select.get("seed")
        return value if isinstance(value, int) else 0

    @property
    def keep_order(self) -> list[str]:
        """``[select] keep_order``: whose picture stays of two, best first."""
        names = self.select.get("keep_order")
        return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []

    @property
    def model(self) -> str | None:
        """``[embed] model``: what the similarity was measured with."""
        return _text(self.embed.get("model"))

    @property
    def quotas(self) -> list[Asked]:
        """The quotas, each collection's own line before those of its subsets."""
        found = []
        quotas = self.select.get("quota")
        for quota in quotas if isinstance(quotas, list) else []:
            if not isinstance(quota, dict) or _text(quota.get("collection")) is None:
                continue
            count = quota.get("count")
            found.append(Asked(quota["collection"], None, count if isinstance(count, int | str) else "not stated"))
            split = quota.get("split")
            for subset, part in split.items() if isinstance(split, dict) else []:
                found.append(Asked(quota["collection"], subset, part if isinstance(part, int | str) else "not stated"))
        return found


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def quota_rows(recipe: RecipeText, facts: Facts) -> list[list[Any]]:
    """collection, subset, asked, taken, short: the recipe beside fact ``taken``. Short is None for ``all``."""
    taken = {
        (row["collection"], None if row["whole_collection"] else row["subset"], row["whole_collection"]): row["items"]
        for row in facts["taken"].records
    }
    rows: list[list[Any]] = []
    for asked in recipe.quotas:
        got = taken.get((asked.collection, asked.subset, asked.subset is None), 0)
        short = asked.count - got if isinstance(asked.count, int) else None
        rows.append([asked.collection, asked.subset or "whole collection", asked.count, got, short])
    return rows
