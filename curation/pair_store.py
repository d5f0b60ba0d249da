"""Pairs of a file into ``similar_pairs``, with the note that they are all that there are, in one transaction."""

import json
import time
import uuid
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from captionlake.lake import Lake
from captionlake.lake.catalog import quote

#: the pictures whose pairs may be stored, by step; others were taken down meanwhile
_ALIVE = {
    "pairs": "SELECT image_id FROM lake.embeddings WHERE model_id = (SELECT model_id FROM given)",
    "hash_pairs": "SELECT image_id FROM lake.images",
}


def add_pairs(
    lake: Lake, path: Path, model_id: str, *, step: str, detail: dict[str, Any], counts: dict[str, Any], started: float
) -> int:
    """Store those pairs of the Parquet file that are new, and a row of ``runs`` for the step. Returns how many there were."""
    add, note = (
        files("captionlake.curation").joinpath(f"sql/{name}.sql").read_text() for name in ("add_pairs", "note_pairs")
    )
    versions = {"captionlake": version("captionlake"), "numpy": np.__version__}

    def change(connection: duckdb.DuckDBPyConnection) -> int:
        query = add.replace("$pairs", quote(str(path))).replace("$alive", _ALIVE[step])
        added = connection.execute(query, [model_id]).fetchone()
        new = int(added[0]) if added else 0
        row = [
            uuid.uuid4().hex,
            step,
            model_id,
            *(json.dumps(one) for one in (detail, {**counts, "new": new}, versions)),
        ]
        connection.execute(note, [*row, time.monotonic() - started])
        return new

    return lake.commit(change)
