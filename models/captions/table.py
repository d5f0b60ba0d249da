"""The table ``captions`` as models that caption read and write it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

import duckdb
import pyarrow as pa

from captionlake.lake import Lake

Line = dict[str, Any]  # a caption by the names of columns; ``created_at`` in seconds
_SCHEMA = pa.schema(
    [
        *(
            (name, pa.string())
            for name in (
                "caption_id",
                "image_id",
                "kind",
                "producer",
                "producer_revision",
                "prompt_id",
                "prompt_sha256",
            )
        ),
        ("text", pa.string()),
        *((name, pa.int32()) for name in ("chars", "words")),
        ("params", pa.string()),
        *((name, pa.int64()) for name in ("input_tokens", "output_tokens")),
        ("cost_usd", pa.float64()),
        ("finish_reason", pa.string()),
        ("created_at", pa.timestamp("us", "UTC")),
    ]
)


def rows_to_caption(lake: Lake, items: pa.Table | None = None) -> pa.Table:
    """Rows for ``caption``: of ``items`` (columns ``source, source_key``), else of the whole lake, with what prompts may say."""
    if items is None:
        items = lake.arrow("SELECT source, source_key FROM images")
    with lake.registered(_items=items.select(["source", "source_key"])):
        return lake.arrow(_sql("caption_rows"))


def accepted_captions(
    lake: Lake, asked: pa.Table, producer: str, params: str, snapshot: int, refuse: Sequence[str]
) -> pa.Table:
    """See ``accepted``. ``asked``: source, source_key, image_id, prompt_sha256."""
    query = _sql("accepted_captions").replace(":snapshot", str(snapshot))
    with lake.registered(_asked=asked):
        return lake.arrow(query, {"producer": producer, "params": params, "refuse": list(refuse)})


def present(lake: Lake, caption_ids: Sequence[str]) -> dict[str, float | None]:
    """Of the captions named those that are there, and what each cost."""
    with lake.registered(_wanted=pa.table({"caption_id": pa.array(caption_ids, pa.string())})):
        return dict(lake.rows(_sql("present_captions")))


def locate(lake: Lake, image_ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Place and size of pictures."""
    with lake.registered(_wanted=pa.table({"image_id": pa.array(image_ids, pa.string())})):
        return {row["image_id"]: row for row in lake.arrow(_sql("locate_pictures")).to_pylist()}


def commit_lines(lake: Lake, lines: Sequence[Line], kind: str = "teacher") -> int:
    """Captions into ``captions`` in one transaction. Returns how many were new."""
    if not lines:
        return 0
    add = _sql("add_captions")

    def change(connection: duckdb.DuckDBPyConnection) -> int:
        found = connection.execute(add).fetchone()
        return int(found[0]) if found else 0

    return lake.commit(change, _captions=_table(lines, kind))


def _table(lines: Sequence[Line], kind: str) -> pa.Table:
    rows = [
        {
            **line,
            "kind": kind,
            "chars": len(line["text"]),
            "words": len(line["text"].split()),
            "created_at": datetime.fromtimestamp(line["created_at"], UTC),
        }
        for line in lines
    ]
    columns = [pa.array([row.get(field.name) for row in rows], field.type) for field in _SCHEMA]
    return pa.Table.from_arrays(columns, schema=_SCHEMA)


def _sql(name: str) -> str:
    return files("captionlake.models").joinpath(f"sql/{name}.sql").read_text()
