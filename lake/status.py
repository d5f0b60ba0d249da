"""``status``: what the lake holds of each source, what is missing and why."""

from dataclasses import dataclass, field
from importlib.resources import files

from captionlake.errors import CaptionlakeError
from captionlake.lake.lake import Lake


@dataclass(slots=True)
class SourceStatus:
    """Counts of rows of one source; ``expected`` also counts what was listed and is not done yet."""

    source: str
    collection: str
    expected: int
    present: int
    failed: int
    embedded: int
    captioned: int
    reasons: dict[str, int] = field(default_factory=dict)
    parts: list["PartStatus"] = field(default_factory=list)  # of a source asked for by name


@dataclass(slots=True)
class PartStatus:
    """Counts of rows of an archive (a tar, a zip, a folder) of a source, or of a subset where its rows have no archive."""

    part: str
    expected: int
    present: int
    failed: int
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
    found[source].parts = _parts(lake, source)
    return [found[source]]


def _parts(lake: Lake, source: str) -> list[PartStatus]:
    rows = lake.rows(files("captionlake.lake").joinpath("sql/status_parts.sql").read_text(), {"source": source})
    return [
        PartStatus(part, expected, present, failed, reasons or {}) for part, expected, present, failed, reasons in rows
    ]
