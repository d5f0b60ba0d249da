"""``caption``: a checkpoint's captions for rows of the lake. Killed and run again, it writes what is missing and nothing twice."""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.engines import LOCAL, Engine
from captionlake.lake.progress import progress
from captionlake.lake.runs import note_run
from captionlake.models.captions.key import Wanted
from captionlake.models.captions.pending import Pending
from captionlake.models.captions.table import Line, commit_lines
from captionlake.models.running.captioner_run import CaptionerRun
from captionlake.models.running.cluster_workers import ClusterWorkers
from captionlake.models.running.engine import Written
from captionlake.models.running.engines import devices, engine_name
from captionlake.models.running.workers import Here, Processes, Workers
from captionlake.models.running.writing import Failure, Job, Result
from captionlake.models.teacher.spool import spool_lock

if TYPE_CHECKING:
    from captionlake.models.running.captioner import CheckpointCaptioner

log = logging.getLogger(__name__)

COMMIT_ROWS = 500
COMMIT_SECONDS = 30.0


def caption(
    lake: Lake,
    rows: pa.Table,
    captioner: "CheckpointCaptioner",
    *,
    limit: int | None = None,
    engine: Engine = LOCAL,
) -> CaptionerRun:
    """Caption each picture of ``rows`` (as ``rows_to_caption`` gives them) that has no caption of this key yet, at most ``limit``.

    Captions are committed every 500, or 30 seconds: a kill loses what was written since. However a run ends, what it wrote is
    committed. A picture that cannot be read gets no caption; the run counts and names it.
    """
    started = time.monotonic()
    where = devices(captioner)
    run = CaptionerRun(
        captioner.captions_by,
        captioner.folder.sha256,
        captioner.placement.device,
        captioner.placement.precision,
        engine_name(captioner),
        len(where),
    )
    with spool_lock(lake.path / "spool", captioner.captions_by):
        expected = captioner.expect(lake, rows)
        run.rows, run.wanted, run.present = expected.rows, expected.wanted, expected.wanted - expected.pending
        todo = expected.pending if limit is None else min(limit, expected.pending)
        log.info("%s", expected.said)
        if todo:
            workers = _workers(captioner, where, engine)
            try:
                _write(lake, rows, captioner, workers, run, todo)
            except BaseException:
                _count(run, workers, started)
                with suppress(
                    CaptionlakeError, duckdb.Error
                ):  # what ended the run may keep this from being written as well
                    _note(lake, run, captioner)
                raise
            _count(run, workers, started)
            _note(lake, run, captioner)
        else:
            run.seconds = round(time.monotonic() - started, 3)
    return run


def _workers(captioner: "CheckpointCaptioner", where: list[str], engine: Engine) -> Workers:
    if engine is not LOCAL:
        return ClusterWorkers(captioner, engine)
    return Here(captioner, where[0]) if len(where) == 1 else Processes(captioner, where)


def _write(
    lake: Lake, rows: pa.Table, captioner: "CheckpointCaptioner", workers: Workers, run: CaptionerRun, todo: int
) -> None:
    wanted: dict[str, Wanted] = {}  # on their way
    lines: list[Line] = []
    committed_at = time.monotonic()

    def jobs() -> Iterator[Job]:
        pending = Pending(lake, rows, captioner)
        while (chunk := pending.chunk()) is not None:
            for one in chunk:
                wanted[one.caption_id] = one
                yield Job(one.caption_id, one.image_id, one.locator)

    def commit() -> None:
        nonlocal committed_at
        run.captioned += commit_lines(lake, lines, "captioner")
        lines.clear()
        committed_at = time.monotonic()

    results = workers.results(lake.images, islice(jobs(), todo))
    try:
        with progress("caption", todo) as advance:
            for result in results:
                _take(result, wanted, captioner, run, lines)
                advance(1)
                if len(lines) >= COMMIT_ROWS or time.monotonic() - committed_at >= COMMIT_SECONDS:
                    commit()
    finally:
        results.close()
        commit()


def _take(
    result: Result, wanted: dict[str, Wanted], captioner: "CheckpointCaptioner", run: CaptionerRun, lines: list[Line]
) -> None:
    job, written = result
    one = wanted.pop(job.caption_id)
    if isinstance(written, Failure):
        run.fail(job.image_id, written.reason, written.detail)
        return
    run.input_tokens += written.input_tokens
    run.output_tokens += written.output_tokens
    run.cut_off += written.finish_reason == "length"
    lines.append(_line(one, written, captioner))


def _line(one: Wanted, written: Written, captioner: "CheckpointCaptioner") -> Line:
    return {
        "caption_id": one.caption_id,
        "image_id": one.image_id,
        "producer": captioner.captions_by,
        "producer_revision": captioner.folder.sha256,
        "prompt_id": one.prompt.prompt_id,
        "prompt_sha256": one.prompt.sha256,
        "params": captioner.params,
        "text": written.text,
        "input_tokens": written.input_tokens,
        "output_tokens": written.output_tokens,
        "finish_reason": written.finish_reason,
        "created_at": time.time(),
    }


def _count(run: CaptionerRun, workers: Workers, started: float) -> None:
    ended = time.monotonic()
    run.seconds = round(ended - started, 3)
    run.left = run.wanted - run.present - run.captioned - run.n_failed
    run.batch_size = workers.batch_size
    if workers.ready_at is not None:
        seconds = ended - workers.ready_at
        run.writing_seconds = round(seconds, 3)
        run.images_per_second = round(run.captioned / seconds, 3)
        run.tokens_per_second = round(run.output_tokens / seconds, 1)


def _note(lake: Lake, run: CaptionerRun, captioner: "CheckpointCaptioner") -> None:
    if not run.captioned and not run.failed:
        return
    counts = {name: value for name, value in asdict(run).items() if name not in ("failures", "given_up")}
    prompt = captioner.prompt
    detail = {"prompt_texts": {prompt.prompt_id: prompt.text}, "params": json.loads(captioner.params)}
    note_run(lake, "caption", target=run.producer, detail=detail, counts=counts)
    lake.merge_small_files()
