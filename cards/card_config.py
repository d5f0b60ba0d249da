"""Where a data set's card goes and what heads it: ``[card]`` of a recipe."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")


def _language(code: str) -> str:
    if not _LANGUAGE.fullmatch(code):
        raise ValueError('must be a language code like "en" or "zh-Hans"')
    return code


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class CardConfig:
    """``output`` is the card's folder; ``title`` and ``language`` (a code) stand at the head of the card."""

    output: Annotated[str, Field(min_length=1)] | None = None
    title: Annotated[str, Field(min_length=1)] | None = None
    language: Annotated[str, AfterValidator(_language)] | None = None


def card_folder(lake: Path, name: str, version: str) -> Path:
    """Where a card goes when nobody says: beside the lake, so that the two are moved together."""
    return lake.parent / "cards" / f"{name}-{version}"
