"""``status``: what the lake holds of each source, what is missing and why."""

from dataclasses import dataclass, field
from importlib.resources import files

from captionlake.errors import CaptionlakeError
from captionlake.lake.lake import Lake


@dataclass(slots=True)
class SourceStatus:
    """Counts of rows of one source; ``expected`` is what its files listed when they were last ingested."""

    source: str
    collection: str
    expected: int | None
    present: int
    failed: int
    embedded: int
    captioned: int
    reasons: dict[str, int] = field(default_factory=dict)


def status(lake: Lake, source: str | None = None) -> list[SourceStatus]:
    """One entry a source, by name. Raises for a source that the lake does not have."""
    rows = lake.rows(files("captionlake.lake").joinpath("sql/status.sql").read_text())
    found = {row[0]: SourceStatus(*row) for row in rows}
    for name, reason, count in lake.rows(
        "SELECT source, reason, count(*) FROM fetch_failures GROUP BY ALL ORDER BY ALL"
    ):
        found[name].reasons[reason] = count
    if source is None:
        return list(found.values())
    if source not in found:
        raise CaptionlakeError(f"no source {source!r} in {lake.path}: it has {', '.join(found) or 'none yet'}")
    return [found[source]]
