"""Which captions are still to be asked for: a query, some thousand rows at a time."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import pyarrow as pa

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.shards import Locator
from captionlake.models.prompts import PromptSet
from captionlake.models.teacher.caption_table import locate, present
from captionlake.models.teacher.prices import Price
from captionlake.models.teacher.request import Wanted, canonical, input_tokens, wanted
from captionlake.models.teacher.teacher_config import TeacherConfig

Row = Mapping[str, Any]
CHUNK = 5000


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for: how, with which prompts, and the ``params`` of the captions' key."""

    config: TeacherConfig
    prompts: PromptSet
    params: str

    @classmethod
    def of(cls, config: TeacherConfig, prompts: PromptSet, redo: str | None = None) -> "Asked":
        """``redo``: a name for captions beside those of the same key without it."""
        return cls(config, prompts, canonical(config.params(redo)))


class Pending:
    """Goes through the rows once. ``skip``: captions that are on their way already."""

    def __init__(
        self, lake: Lake, rows: pa.Table | Iterable[Row], asked: Asked, skip: frozenset[str] = frozenset()
    ) -> None:
        self._lake = lake
        self._rows = dictionaries(rows)
        self._asked = asked
        self._skip = skip
        self._seen: set[bytes] = set()  # keys that this run has come by: the first half of their hash
        self.rows = self.wanted = self.present = self.skipped = 0
        self.spent = 0.0  # by the captions that are present

    def chunk(self) -> list[Wanted] | None:
        """The captions that are missing among the next rows, with their pictures' places; None at the end."""
        rows = list(islice(self._rows, CHUNK))
        if not rows:
            return None
        self.rows += len(rows)
        new: dict[str, Wanted] = {}
        for row in rows:
            try:
                prompt = self._asked.prompts.render(row)
                one = wanted(row, prompt, self._asked.config.captions_by, self._asked.params)
            except KeyError as error:
                raise CaptionlakeError(f"a row to caption has no column {error}: see rows_to_caption") from error
            key = bytes.fromhex(one.caption_id[:32])
            if key not in self._seen:
                self._seen.add(key)
                new[one.caption_id] = one
        self.wanted += len(new)
        there = present(self._lake, list(new)) if new else {}
        self.spent += sum(cost or 0.0 for cost in there.values())
        self.present += len(there)
        skipped = self._skip & new.keys()
        self.skipped += len(skipped)
        return self._located([one for name, one in new.items() if name not in there and name not in skipped])

    def _located(self, missing: list[Wanted]) -> list[Wanted]:
        bare = [one.image_id for one in missing if one.locator is None or not one.width]
        if not bare:
            return missing
        places = locate(self._lake, bare)
        return [_with_place(one, places[one.image_id]) if one.image_id in places else one for one in missing]


def _with_place(one: Wanted, place: Mapping[str, Any]) -> Wanted:
    locator = Locator(place["shard"], place["row"], place["offset"], place["n_bytes"])
    return replace(one, locator=one.locator or locator, width=place["width"], height=place["height"])


def dictionaries(rows: pa.Table | Iterable[Row]) -> Iterator[Row]:
    """Rows one by one, of a table without holding all of them as dictionaries."""
    if isinstance(rows, pa.Table):
        for batch in rows.to_batches(max_chunksize=CHUNK):
            yield from batch.to_pylist()
    else:
        yield from rows


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
