"""What a model's tokens cost, from a table that users can replace."""

import re
import tomllib
from importlib.resources import files
from typing import Annotated

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from captionlake.errors import CaptionlakeError
from captionlake.models.teacher.outcome import Usage
from captionlake.models.teacher.teacher_config import TeacherConfig

Dollars = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_DATED = re.compile(r"-\d{4}-?\d{2}-?\d{2}$")


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class Price:
    """Dollars per million tokens of ``input`` and ``output``; what the Batch API takes off; the tokens of a picture."""

    name: str
    input: Dollars
    output: Dollars
    batch_discount: Annotated[float, Field(ge=0, le=1)] = 0.0
    image_base_tokens: Annotated[int, Field(ge=0)] = 85
    image_tile_tokens: Annotated[int, Field(ge=0)] = 170

    def cost(self, usage: Usage, *, batch: bool = False) -> float:
        """Dollars of one reply."""
        whole = (usage.input_tokens * self.input + usage.output_tokens * self.output) / 1e6
        return whole * (1 - self.batch_discount) if batch else whole


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class _Table:
    noted: str | None = None
    model: tuple[Price, ...] = ()


FREE = Price(name="free", input=0.0, output=0.0)


def price_of(config: TeacherConfig) -> Price | None:
    """The price of the model, by its name or by that without its date; None where the table lacks it.

    Raises where a budget is to be kept to and no price is known.
    """
    if config.price == "free":
        return FREE
    table = {price.name: price for price in _read(config).model}
    found = table.get(config.model) or table.get(_DATED.sub("", config.model))
    if found is None and config.max_cost_usd is not None:
        raise CaptionlakeError(
            f"max_cost_usd cannot be kept to: no price of {config.model} is known. Give `prices`, a table with it (as models/"
            'prices.toml), or `price = "free"` for an endpoint of your own, or leave max_cost_usd out'
        )
    return found


def _read(config: TeacherConfig) -> _Table:
    try:
        if config.prices is not None:
            text = config.prices.expanduser().read_text(encoding="utf-8")
        else:
            text = files("captionlake.models").joinpath("prices.toml").read_text(encoding="utf-8")
        return TypeAdapter(_Table).validate_python(tomllib.loads(text))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CaptionlakeError(f"no prices can be read from {config.prices} ({error}): mend the file") from error
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise CaptionlakeError(f"{config.prices} is no table of prices ({said}): see docs/captions.md") from error
