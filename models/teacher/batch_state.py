"""``LAKE/spool/batches.json``: which batches are with the endpoint, written durably before and after each step."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.durable import sync_folder
from captionlake.lake.locking import write_lock
from captionlake.models.captions.table import Line
from captionlake.models.teacher.spool import read_spool

_FILE = "batches.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """One file of requests. ``own`` is our name for it, which the endpoint keeps in its metadata.

    ``state``: preparing, prepared (files written), uploaded, submitted. ``reserved`` is the most that it can cost, in dollars.
    """

    own: str
    producer: str
    url: str
    state: str = "preparing"
    requests: int = 0
    reserved: float = 0.0
    file_id: str | None = None
    batch_id: str | None = None

    def path(self, lake: Lake, what: str) -> Path:
        """Of its ``rows``, ``requests``, or ``output``."""
        return lake.path / "spool" / f"batch-{self.own}.{what}.jsonl"

    def rows(self, lake: Lake) -> dict[str, Line]:
        """The keys of its captions, by caption_id."""
        path = self.path(lake, "rows")
        if self.state == "preparing" or not path.exists():
            return {}
        return {line["caption_id"]: line for line in read_spool(path)}


def my_batches(lake: Lake, producer: str) -> list[Batch]:
    """Those of a producer, oldest first."""
    return [batch for batch in _read(lake.path / "spool" / _FILE) if batch.producer == producer]


def note(lake: Lake, batch: Batch, **changes: object) -> Batch:
    """Add a batch, or change it."""
    new = replace(batch, **changes)  # type: ignore[arg-type]

    def change(batches: list[Batch]) -> list[Batch]:
        if any(each.own == new.own for each in batches):
            return [new if each.own == new.own else each for each in batches]
        return [*batches, new]

    _change(lake, change)
    return new


def forget(lake: Lake, batch: Batch) -> None:
    """Remove a batch whose captions are committed, and its files."""
    _change(lake, lambda batches: [each for each in batches if each.own != batch.own])
    for what in ("rows", "requests", "output"):
        batch.path(lake, what).unlink(missing_ok=True)


def _read(path: Path) -> list[Batch]:
    try:
        return [Batch(**each) for each in json.loads(path.read_text())["batches"]]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        raise CaptionlakeError(
            f"{path} is damaged ({error}): restore it from a backup, else batches that are paid for are lost"
        ) from error


def _change(lake: Lake, change: Callable[[list[Batch]], list[Batch]]) -> None:
    path = lake.path / "spool" / _FILE
    with write_lock(lake.path):
        told = {"batches": [asdict(batch) for batch in change(_read(path))]}
        beside = path.with_suffix(".new")
        with beside.open("w") as file:
            json.dump(told, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        beside.rename(path)
        sync_folder(path.parent)
