"""``[analyze]`` of a recipe: the analysis of the release, as a figure."""

from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass


def _drawable(figure: str) -> str:
    if not figure.lower().endswith((".png", ".svg")):
        raise ValueError("should end in .png or .svg")
    return figure


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class FigureConfig:
    """``figure`` is the file of the sunburst, PNG or SVG by its ending."""

    figure: Annotated[str, Field(min_length=1), AfterValidator(_drawable)] | None = None
