"""``caption_words``: each caption is parsed once, and its counts committed by batches.

What is pending is the release's captions without a row by the parser. A killed run goes on after its last commit.
"""

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from captionlake.curation.analysis.analyze_config import AnalyzeConfig
from captionlake.curation.analysis.parser import COUNTED, Counts, find_package
from captionlake.curation.analysis.parsing import parse_beside, parse_here
from captionlake.curation.analysis.released import Released
from captionlake.lake import Lake
from captionlake.lake.catalog import quote
from captionlake.lake.progress import progress
from captionlake.lake.runs import note_run

COMMIT_EVERY = 4096  # captions; what a kill can lose
PER_TASK = 128  # captions that a process takes at a time
FEW = 1000  # captions, up to which processes are not worth their start
_SCHEMA = pa.schema(
    [
        ("caption_id", pa.string()),
        ("parser", pa.string()),
        *((name, pa.int32()) for name in ("sentences", "tokens", "words", *COUNTED)),
        ("pairs", pa.list_(pa.string())),
    ]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class WordCounts:
    """Of ``captions`` that were asked for, ``present`` were counted before and ``counted`` are now."""

    parser: str
    captions: int
    present: int
    counted: int
    seconds: float


def count_words(lake: Lake, released: Released, config: AnalyzeConfig) -> WordCounts:
    """Count the words of the release's captions that have no counts by the parser yet."""
    started = time.monotonic()
    package, parser_id = find_package(config.parser)
    with lake.staging("words") as staging:
        path = staging / "pending.parquet"
        released.connection.execute(f"COPY ({released.sql('pending_words', parser_id)}) TO {quote(str(path))}")
        captions = int(released.answer("captions", parser_id).rows[0][0])
        counted = _count(lake, path, package, parser_id, config.processes or os.cpu_count() or 1)
    if counted:
        lake.merge_small_files()
    counts = WordCounts(
        parser=parser_id,
        captions=captions,
        present=captions - counted,
        counted=counted,
        seconds=round(time.monotonic() - started, 3),
    )
    if counted:
        detail = {"parser": parser_id, "producers": released.producers}
        note_run(lake, "analyze", target=released.label, detail=detail, counts=asdict(counts))
    return counts


def _count(lake: Lake, path: Path, package: str, parser_id: str, processes: int) -> int:
    """Count the captions (caption_id, text) of a Parquet file; returns of how many the counts are new to the lake."""
    counted = 0
    with pq.ParquetFile(path) as pending, progress("analyze", pending.metadata.num_rows) as advance:
        total = pending.metadata.num_rows
        if not total:
            return 0
        texts = (batch.column("text").to_pylist() for batch in pending.iter_batches(PER_TASK, columns=["text"]))
        found = (
            parse_here(texts, package) if processes == 1 or total <= FEW else parse_beside(texts, package, processes)
        )
        with pq.ParquetFile(path) as again:
            ids = (batch.column("caption_id") for batch in again.iter_batches(PER_TASK, columns=["caption_id"]))
            for rows in _batches(zip(ids, found, strict=True), parser_id):
                counted += _store(lake, rows)
                advance(rows.num_rows)
    return counted


def _batches(found: Iterable[tuple[pa.Array, list[Counts]]], parser_id: str) -> Iterator[pa.Table]:
    """Rows of ``caption_words``, as many at a time as are committed at once."""
    waiting: list[Counts] = []
    for ids, counts in found:
        waiting += [
            {"caption_id": id_, "parser": parser_id} | row for id_, row in zip(ids.to_pylist(), counts, strict=True)
        ]
        if len(waiting) >= COMMIT_EVERY:
            yield pa.Table.from_pylist(waiting, schema=_SCHEMA)
            waiting = []
    if waiting:
        yield pa.Table.from_pylist(waiting, schema=_SCHEMA)


def _store(lake: Lake, rows: pa.Table) -> int:
    add = files("captionlake.curation.analysis").joinpath("sql/add_words.sql").read_text(encoding="utf-8")

    def change(connection: duckdb.DuckDBPyConnection) -> int:
        found = connection.execute(add).fetchone()
        return int(found[0]) if found else 0

    return lake.commit(change, _made=rows)
