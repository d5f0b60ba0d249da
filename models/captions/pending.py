"""Which captions are still to be made: a query, some thousand rows at a time."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any, Protocol

import pyarrow as pa

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.shards import Locator
from captionlake.models.captions.key import Wanted, wanted
from captionlake.models.captions.table import locate, present
from captionlake.models.prompts import Prompt

Row = Mapping[str, Any]
CHUNK = 5000


class Asking(Protocol):
    """Who is asked for captions, and what decides them: the parts of a key beside the picture."""

    @property
    def captions_by(self) -> str:
        """The producer."""

    @property
    def params(self) -> str:
        """JSON, as ``canonical`` writes it."""

    def render(self, row: Row) -> Prompt:
        """What is asked about a row."""


class Pending:
    """Goes through the rows once. ``skip``: captions that are on their way already."""

    def __init__(
        self, lake: Lake, rows: pa.Table | Iterable[Row], asked: Asking, skip: frozenset[str] = frozenset()
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
                prompt = self._asked.render(row)
                one = wanted(row, prompt, self._asked.captions_by, self._asked.params)
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
