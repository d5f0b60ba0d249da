"""A lake looked at, from the catalog to the last shard; what cannot be looked at is a finding too."""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb

from captionlake.errors import CaptionlakeError
from captionlake.lake.catalog import first_line, quote
from captionlake.lake.doctor import leftovers, pictures, records, tables
from captionlake.lake.doctor.finding import Finding, Level, note, problem
from captionlake.lake.lake import Lake
from captionlake.lake.releases.verification import VERIFY
from captionlake.lake.runs import note_run

_CHECKS: list[Callable[[Lake], Finding | Iterable[Finding]]] = [
    *(tables.schema, tables.lock, tables.lake_clock, tables.files, tables.given_back),
    *(pictures.shards, pictures.sample, leftovers.staging, leftovers.spool),
    *(records.releases, records.publications, records.takedowns, records.failures),
]


def examine_lake(folder: Path, *, deep: bool = False) -> Iterator[Finding]:
    """Every check. ``deep``: each picture is read and hashed, which is noted in ``runs`` unless somebody is writing."""
    folder = folder.expanduser().absolute()
    counts: dict[str, Any] = {}
    try:
        lake = tables.open_lake(folder)
    except (CaptionlakeError, duckdb.Error, OSError) as error:
        what, _, mend = str(error).partition(": ")
        yield problem("catalog", what, folder, mend.rpartition("  ")[2])  # the command, which two spaces set off
        return
    with lake, tempfile.TemporaryDirectory(prefix="captionlake-") as spill:
        lake.connection.execute(f"SET temp_directory = {quote(spill)}")
        lake.connection.execute("BEGIN")  # all see one state, and look it up once
        for check in [one for one in _CHECKS if not (deep and one is pictures.sample)]:
            yield from _of(check, lake)
        lake.connection.execute("COMMIT")
        if deep:
            yield from _of(pictures.every_picture, lake, counts)
            yield from _noted(lake, counts)


def _of(check: Callable[..., Finding | Iterable[Finding]], lake: Lake, *more: Any) -> Iterator[Finding]:
    """The findings of a check, or why it could not be made."""
    try:
        found = check(lake, *more)
        yield from [found] if isinstance(found, Finding) else found
    except (CaptionlakeError, duckdb.Error, OSError) as error:
        with suppress(duckdb.Error):
            lake.connection.execute("ROLLBACK")
            lake.connection.execute("BEGIN")
        yield problem(
            check.__name__, f"could not be looked at: {first_line(error)}", lake.path, "captionlake --debug doctor"
        )


def _noted(lake: Lake, counts: dict[str, Any]) -> Iterator[Finding]:
    """Who looked at every picture leaves a row of ``runs``; who may read alone may look too."""
    if "pictures" not in counts:
        return
    try:
        if tables.lock(lake).level != Level.OK:
            raise CaptionlakeError("the lake is being written to")
        with Lake.open(lake.path) as opened:
            note_run(opened, VERIFY, target=None, detail={}, counts=counts)
    except (CaptionlakeError, duckdb.Error) as error:
        yield note("pictures", f"that they were verified could not be noted: {first_line(error)}", lake.path)
