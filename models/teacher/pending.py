"""What is asked of the teacher, and what it would take."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import pyarrow as pa

from captionlake.lake import Lake
from captionlake.models.captions.key import canonical
from captionlake.models.captions.pending import Pending, Row
from captionlake.models.prompts import Prompt, PromptSet
from captionlake.models.teacher.prices import Price
from captionlake.models.teacher.request import input_tokens
from captionlake.models.teacher.teacher_config import TeacherConfig


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for: how, with which prompts, and the ``params`` of the captions' key."""

    config: TeacherConfig
    prompts: PromptSet
    params: str

    @classmethod
    def of(cls, config: TeacherConfig, prompts: PromptSet, redo: str | None = None) -> Self:
        """``redo``: a name for captions beside those of the same key without it."""
        return cls(config, prompts, canonical(config.params(redo)))

    @property
    def captions_by(self) -> str:
        """The producer of the captions."""
        return self.config.captions_by

    def render(self, row: Row) -> Prompt:
        """The prompt of a row."""
        return self.prompts.render(row)


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """What captioning would take. ``pending`` of ``wanted`` captions are missing; ``spent_usd`` is what the others have cost.

    Tokens of pictures by the tile rule, of prompts at four characters each, of replies at the mean of ``known`` captions by
    this producer, or else half of ``max_tokens``. ``cost_usd`` is None where no price is known.
    """

    producer: str
    rows: int
    wanted: int
    pending: int
    known: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    spent_usd: float

    @property
    def said(self) -> str:
        """The same in words."""
        cost = "at an unknown price" if self.cost_usd is None else f"about {self.cost_usd:,.2f} US dollars"
        return (
            f"{self.pending:,} of {self.wanted:,} captions by {self.producer} are missing: {cost} for "
            f"{self.input_tokens:,} tokens in and {self.output_tokens:,} out"
        )


def survey(lake: Lake, rows: pa.Table | Sequence[Row], asked: Asked, price: Price | None) -> Estimate:
    """Go through all rows without asking for anything."""
    config = asked.config
    pending = Pending(lake, rows, asked)
    missing = tokens = 0
    while (chunk := pending.chunk()) is not None:
        missing += len(chunk)
        tokens += sum(input_tokens(config, price, one.prompt.text, one.width, one.height) for one in chunk)
    known, mean = lake.rows(
        "SELECT count(output_tokens), avg(output_tokens) FROM captions WHERE producer = ?", [config.captions_by]
    )[0]
    output = round(missing * (mean if known else config.max_tokens / 2))
    cost = None
    if price is not None:
        discount = 1 - price.batch_discount if config.mode == "batch" else 1.0
        cost = (tokens * price.input + output * price.output) / 1e6 * discount
    return Estimate(
        producer=config.captions_by,
        rows=pending.rows,
        wanted=pending.wanted,
        pending=missing,
        known=known,
        input_tokens=tokens,
        output_tokens=output,
        cost_usd=cost,
        spent_usd=pending.spent,
    )
