"""Texts that come with a source's row, as rows of ``captions``."""

import hashlib
import json
from collections import Counter
from datetime import datetime
from typing import Any


def caption_rows(row: dict[str, Any], source: str, image_id: str, now: datetime) -> list[dict[str, Any]]:
    """The texts of a row of ``captionlake.lake.sources.source.SCHEMA``.

    Ids are hashes of what the row says, so that a rerun makes the same. A source's own text is bound to its row. Where there is
    ``provenance``, a text keeps its id, its producer and its time; one that was made from the picture is bound to the picture alone.
    """
    rows = []
    again: Counter[str] = Counter()
    told = json.loads(row["provenance"]) if row.get("provenance") else None
    for ordinal, item in enumerate(row.get("captions") or []):
        origin = told[ordinal] if told else {"producer": "source", "params": json.dumps({"ordinal": ordinal})}
        bound = origin.get("from_source", True)
        said = [source, row["source_key"]] if bound else [image_id]
        said += [item["kind"], item["text"]]
        if origin["producer"] != "source" or not bound:
            said += [
                origin.get(name) for name in ("producer", "producer_revision", "prompt_id", "prompt_sha256", "params")
            ]
        named = json.dumps(said, ensure_ascii=False)
        again[named] += 1
        rows.append(
            {
                "caption_id": origin.get("caption_id") or _id([*said, again[named] - 1]),
                "image_id": image_id,
                "source": source if bound else None,
                "source_key": row["source_key"] if bound else None,
                "kind": item["kind"],
                "producer": origin["producer"],
                "producer_revision": origin.get("producer_revision"),
                "prompt_id": origin.get("prompt_id"),
                "prompt_sha256": origin.get("prompt_sha256"),
                "text": item["text"],
                "chars": len(item["text"]),
                "words": len(item["text"].split()),
                "params": origin.get("params"),
                "license": item["license"],
                "created_at": datetime.fromisoformat(at) if (at := origin.get("created_at")) else now,
            }
        )
    return rows


def _id(said: list[Any]) -> str:
    return hashlib.sha256(json.dumps(said, ensure_ascii=False).encode()).hexdigest()[:32]
