"""``caption``: a teacher's captions for rows of the lake. Killed and run again, it asks for what is missing and nothing twice."""

import asyncio
import json
import logging
import time
import uuid
from collections.abc import Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.durable import sync_folder
from captionlake.lake.progress import progress
from captionlake.lake.runs import note_run
from captionlake.models.captions.key import canonical
from captionlake.models.captions.pending import Pending, Row
from captionlake.models.prompts import PromptSet
from captionlake.models.teacher.asking import Asking
from captionlake.models.teacher.batch_state import my_batches
from captionlake.models.teacher.batches import Batches
from captionlake.models.teacher.budget import Budget, BudgetReached
from captionlake.models.teacher.caption_run import CaptioningStopped, CaptionRun
from captionlake.models.teacher.pending import Asked, Estimate, survey
from captionlake.models.teacher.prices import price_of
from captionlake.models.teacher.spool import commit_files, spool_files, spool_lock, spool_name
from captionlake.models.teacher.teacher_config import TeacherConfig

log = logging.getLogger(__name__)


def estimate(
    lake: Lake, rows: pa.Table | Iterable[Row], config: TeacherConfig, prompts: PromptSet | str | Path
) -> Estimate:
    """How many captions are missing and what they would cost. Asks nothing of the endpoint, and needs no key."""
    return survey(lake, _table(rows), Asked.of(config, _prompts(prompts)), price_of(config))


def caption(
    lake: Lake,
    rows: pa.Table | Iterable[Row],
    config: TeacherConfig,
    prompts: PromptSet | str | Path,
    *,
    redo: bool = False,
) -> CaptionRun:
    """Caption each picture of ``rows`` (as ``rows_to_caption`` gives them, in their order) that has no caption of this key yet.

    The key is picture, producer, the prompt's hash and the parameters. ``redo``: new captions beside those that are there; a
    run of it that was killed goes on where it was. Every reply is on the disk before its slot takes the next request. The
    costs of captions that are there already count towards ``max_cost_usd``.

    Raises ``CaptioningStopped`` where the run ends early (budget, endpoint, key, model), with everything committed that came.
    """
    started = time.monotonic()
    told = _prompts(prompts)
    price = price_of(config)  # refuses a budget without a price before anything else
    rows = _table(rows) if config.max_cost_usd is not None else rows
    run = CaptionRun(config.captions_by, config.mode)
    spool = lake.path / "spool"
    with spool_lock(spool, config.captions_by):
        anew = _redo_file(spool, config, told) if redo else None
        run.recovered = commit_files(lake, spool_files(spool, config.captions_by))
        asked = Asked.of(config, told, anew.read_text() if anew is not None else None)
        expected = None
        if isinstance(rows, pa.Table | Sequence):
            expected = survey(lake, rows, asked, price)
            _say(expected, config)
        spent = expected.spent_usd if expected is not None else 0.0
        budget = Budget(price, config.max_cost_usd, spent=spent, batch=config.mode == "batch")
        batches = my_batches(lake, config.captions_by)
        on_their_way = frozenset(name for batch in batches for name in batch.rows(lake))
        pending = Pending(lake, rows, asked, skip=on_their_way)
        work = (Batches if config.mode == "batch" else Asking)(lake, asked, pending, budget, run)
        with progress("caption", expected.pending if expected is not None else None) as advance:
            _run(work.ask_all(advance))
        _count(run, config, pending, expected, budget, spent)
        run.seconds = round(time.monotonic() - started, 3)
        if work.stopped is not None:
            with suppress(
                CaptionlakeError, duckdb.Error
            ):  # what ended the run may keep this from being written as well
                _note(lake, run, asked)
            _raise(work.stopped, run, config, expected)
        _note(lake, run, asked)
        if anew is not None and not run.waiting:
            anew.unlink()
    return run


def _count(
    run: CaptionRun, config: TeacherConfig, pending: Pending, expected: Estimate | None, budget: Budget, before: float
) -> None:
    run.rows, run.wanted, run.present = pending.rows, pending.wanted, pending.present
    if expected is not None:  # the whole, where the run ended before its rows did
        run.rows, run.wanted, run.present = expected.rows, expected.wanted, expected.wanted - expected.pending
    if config.mode == "live":
        run.waiting = pending.skipped  # with the Batch API, asked by another run
    run.left = max(0, run.wanted - run.present - run.captioned - run.n_failed - run.waiting)
    run.cost_usd = None if budget.price is None else budget.spent - before
    run.lost_usd = budget.lost


def _raise(stopped: BaseException, run: CaptionRun, config: TeacherConfig, expected: Estimate | None) -> None:
    if isinstance(stopped, BudgetReached):
        each = (expected.cost_usd or 0.0) / max(1, expected.pending) if expected is not None else 0.0
        if run.captioned and run.cost_usd:
            each = run.cost_usd / run.captioned
        spent = (run.cost_usd or 0.0) + run.lost_usd + (expected.spent_usd if expected is not None else 0.0)
        raise CaptioningStopped(
            f"max_cost_usd of {config.max_cost_usd:g} is reached ({spent:.4f} spent): {run.left:,} captions are left, which would "
            f"cost about {run.left * each:.2f}: raise max_cost_usd and run this again",
            run,
        )
    if isinstance(stopped, CaptionlakeError):
        raise CaptioningStopped(str(stopped), run) from stopped
    raise stopped


def _say(expected: Estimate, config: TeacherConfig) -> None:
    cost = "at an unknown price" if expected.cost_usd is None else f"about {expected.cost_usd:.2f} US dollars"
    log.info(
        "%s: %d of %d captions are missing, %s, %d tokens in and %d out",
        config.captions_by,
        expected.pending,
        expected.wanted,
        cost,
        expected.input_tokens,
        expected.output_tokens,
    )


def _note(lake: Lake, run: CaptionRun, asked: Asked) -> None:
    """The row of ``runs``: counts and outcomes; texts of failures are not in it, they quote the endpoint."""
    counts = {name: value for name, value in asdict(run).items() if name not in ("failures", "given_up")}
    prompts = f"{asked.prompts.id} {asked.prompts.version}"
    detail = {
        "prompts": prompts,
        "params": json.loads(asked.params),
        "mode": asked.config.mode,
        "prompt_texts": asked.prompts.texts(),
    }
    if run.captioned or run.failed or run.requests:
        note_run(lake, "caption", target=run.producer, detail=detail, counts=counts)
    if run.captioned:
        lake.merge_small_files()


def _prompts(prompts: PromptSet | str | Path) -> PromptSet:
    return prompts if isinstance(prompts, PromptSet) else PromptSet.read(prompts)


def _table(rows: pa.Table | Iterable[Row]) -> pa.Table | Sequence[Row]:
    return rows if isinstance(rows, pa.Table | Sequence) else list(rows)


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end, in a thread of its own where this one has an event loop already (a notebook's)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
        return
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()


def _redo_file(spool: Path, config: TeacherConfig, prompts: PromptSet) -> Path:
    """A file with a name for captions that are made anew; it stays, and so does the name, until all of them are there."""
    scope = sha256(canonical([prompts.id, prompts.version, config.params()]).encode()).hexdigest()[:12]
    path = spool / f"{spool_name(config.captions_by)}-{scope}.redo"
    if not path.exists():
        beside = path.with_suffix(".new")
        beside.write_text(uuid.uuid4().hex[:12])
        beside.rename(path)
        sync_folder(spool)
    return path
