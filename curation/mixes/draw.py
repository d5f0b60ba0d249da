"""Captions of a release, drawn by quota and seed, as conversations of one question and one answer."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import pyarrow as pa

from captionlake.curation.mixes.mix_config import Replace
from captionlake.curation.truncation import TruncateConfig, cut_row, find_cap, store
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.releases.content import fetched
from captionlake.lake.releases.release import find_release
from captionlake.lake.sft.importing import conversation_id
from captionlake.lake.sft.paths import path_query
from captionlake.lake.sft.record import read_record

_COMMIT_EVERY = 20_000  # rows
_ROWS = pa.schema(
    [
        ("conversation_id", pa.string()),
        ("image_ids", pa.list_(pa.string())),
        *((name, pa.string()) for name in ("turns", "origin", "caption_id")),
        ("image_paths", pa.list_(pa.string())),
        ("record", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class Drawn:
    """Captions in the order drawn. ``rows``: (caption_id, text, image_id, source, source_key, license, collection, path).

    ``quotas``: of each, how many were wanted (None for all) and how many there are.
    """

    rows: list[tuple[Any, ...]]
    quotas: dict[str, tuple[int | None, int]]


def draw(lake: Lake, replace: Replace, seed: int) -> Drawn:
    """Draw by the recipe. Raises where a quota is not met, unless shortfalls are only to be reported."""
    release = find_release(lake, replace.captions)
    if release.kind != "images":
        raise CaptionlakeError(
            f"{release.label} holds conversations: name a release of images whose captions are to be used"
        )
    query = files("captionlake.curation").joinpath("sql/mix_captions.sql").read_text()
    query = query.replace(":path", path_query()).replace(":snapshot", str(release.snapshot_id))
    given = {"name": release.name, "version": release.version, "producer": replace.producer, "seed": seed}
    wanted: dict[str, int | None] = {"all": None if replace.count == "all" else replace.count}
    if replace.quotas is not None:
        wanted = dict(replace.quotas)
    quota_of = {collection: quota for quota in wanted for collection in replace.groups.get(quota, (quota,))}
    rows: list[tuple[Any, ...]] = []
    taken: Counter[str] = Counter()
    for row in fetched(lake.connection.cursor().execute(query, given)):
        quota = "all" if replace.quotas is None else quota_of.get(row[6])
        if quota is None or ((limit := wanted[quota]) is not None and taken[quota] >= limit):
            continue
        taken[quota] += 1
        rows.append(row)
    _check(replace, wanted, taken)
    return Drawn(rows, {quota: (count, taken[quota]) for quota, count in wanted.items()})


def _check(replace: Replace, wanted: dict[str, int | None], taken: Counter[str]) -> None:
    short = {quota: count for quota, count in wanted.items() if count is not None and taken[quota] < count}
    if short and replace.shortfall == "error":
        told = ", ".join(f"{taken[quota]:,} of {count:,} of {quota}" for quota, count in short.items())
        raise CaptionlakeError(
            f'{replace.captions} has too few captions by {replace.producer}: {told}: ask for fewer, or set shortfall = "report"'
        )
    if not taken:
        raise CaptionlakeError(f"{replace.captions} has no captions by {replace.producer}: name their producer")


def shorten(lake: Lake, drawn: Drawn, replace: Replace, name: str) -> tuple[Drawn, dict[str, Any]]:
    """The captions cut as the recipe says, stored as rows of kind ``truncated`` by ``PRODUCER/trN/NAME``; the cut as counts."""
    assert replace.truncate is not None
    label = f"{replace.producer}/tr{replace.truncate}/{name}"
    config = TruncateConfig(producer=replace.producer, mean_chars=replace.truncate, at=replace.at, name=label)
    cap = find_cap((row[1] for row in drawn.rows), replace.truncate, replace.at)
    rows: list[tuple[Any, ...]] = []
    for at in range(0, len(drawn.rows), _COMMIT_EVERY):
        part = drawn.rows[at : at + _COMMIT_EVERY]
        made = [cut_row(row[:6], config, cap) for row in part]
        store(lake, made)
        rows += [(short["caption_id"], short["text"], *row[2:]) for short, row in zip(made, part, strict=True)]
    return Drawn(rows, drawn.quotas), {
        "producer": label,
        "cap": cap.chars,
        "cut": cap.cut,
        "mean_chars": round(cap.mean, 3),
    }


def converse(lake: Lake, drawn: Drawn, questions: Sequence[str], seed: int, name: str) -> list[str]:
    """Store the captions as conversations of origin ``name``, each with a question drawn by the seed; returns their ids in order."""
    ids: list[str] = []
    for at in range(0, len(drawn.rows), _COMMIT_EVERY):
        part = drawn.rows[at : at + _COMMIT_EVERY]
        rows = [_conversation(row, number, questions, seed, name) for number, row in enumerate(part, at + 1)]
        lake.append("conversations", pa.Table.from_pylist(rows, _ROWS), ["conversation_id"])
        ids += [row["conversation_id"] for row in rows]
    return ids


def _conversation(row: tuple[Any, ...], number: int, questions: Sequence[str], seed: int, name: str) -> dict[str, Any]:
    caption_id, text, image_id, _, _, _, _, path = row
    digest = hashlib.sha256(f"{seed}:{caption_id}".encode()).digest()
    question = questions[int.from_bytes(digest[:8]) % len(questions)]
    stem = path.rpartition("/")[2]
    turns = [{"from": "human", "value": question}, {"from": "gpt", "value": text}]
    record = read_record({"id": stem.rpartition(".")[0] or stem, "image": path, "conversations": turns})
    return {
        "conversation_id": conversation_id(name, number, record),
        "image_ids": [image_id],
        "turns": record.turns,
        "origin": f"{name}:{number}",
        "caption_id": caption_id,
        "image_paths": record.image_paths,
        "record": record.record,
    }
