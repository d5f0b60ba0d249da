"""Which rows of images a recipe refuses, as all their captions have a flag that it does not take."""

from collections.abc import Iterable
from importlib.resources import files

import polars as pl

from captionlake.curation.flags.flag import Flag
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake


def refused_rows(
    lake: Lake, flags: Iterable[str], *, captioned_by: str | None = None, snapshot: int | None = None
) -> pl.DataFrame:
    """``refused`` of ``curation.selection.select``: source, source_key, detail (the flags), in order of the key.

    A row is refused where it has captions by ``captioned_by`` (default: by anyone) and each has one of ``flags``. A row without captions
    is not, nor is a caption that was not checked yet: see that ``flag_captions`` came before. Raises on a flag that is none.
    """
    names = [str(flag) for flag in flags]
    unknown = [name for name in names if name not in set(Flag)]
    if unknown:
        raise CaptionlakeError(f"no flag {', '.join(unknown)}: there are {', '.join(Flag)}")
    at = lake.snapshot() if snapshot is None else snapshot
    query = files("captionlake.curation").joinpath("sql/refused_rows.sql").read_text().replace(":snapshot", f"{at:d}")
    found = pl.from_arrow(lake.arrow(query, {"flags": names, "producer": captioned_by}))
    assert isinstance(found, pl.DataFrame)
    return found
