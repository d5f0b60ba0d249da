"""``runs``: what was done to the lake, when, with which versions, and what it counted."""

import json
import uuid
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import pyarrow as pa

from captionlake.lake.lake import Lake

_PACKAGES = ("captionlake", "duckdb", "pyarrow", "pillow")


def note_run(lake: Lake, step: str, *, target: str | None, detail: dict[str, Any], counts: dict[str, Any]) -> None:
    """Add a row; ``counts["seconds"]`` becomes its duration."""
    row = {
        "run_id": uuid.uuid4().hex,
        "step": step,
        "target": target,
        "detail": json.dumps(detail, ensure_ascii=False, default=str),
        "counts": json.dumps(counts, ensure_ascii=False, default=str),
        "versions": json.dumps({name: version(name) for name in _PACKAGES}),
        "seconds": float(counts.get("seconds", 0.0)),
        "created_at": datetime.now(UTC),
    }
    lake.append("runs", pa.Table.from_pylist([row]), ["run_id"])
