"""An ingest in one line."""

from typing import Any

_NAMES = {
    "images": "new",
    "matched": "with a picture in the lake",
    "copied": "new by a URL that is known",
    "present": "present",
    "failures": "failed",
    "failed_before": "failed before",
    "not_tried": "not tried",
    "taken_down": "kept out, as they were taken down",
    "repeated": "repeated in the list",
}


def ingest_line(counts: dict[str, Any]) -> str:
    """One line that accounts for every listed row."""
    said = ", ".join(f"{counts[key]:,} {text}" for key, text in _NAMES.items() if counts[key])
    more = f", {counts['conversations']:,} new conversations" if counts["conversations"] else ""
    return f"{counts['source']}: {counts['listed']:,} listed: {said or 'nothing'}; {counts['captions']:,} new captions{more}"
