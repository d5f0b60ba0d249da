"""States to go on from: ``OUTPUT/steps/checkpoint-N``, whole once they have a record, which is written last."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

from captionlake.errors import CaptionlakeError
from captionlake.models.checkpoint import RECORD, CheckpointRecord, read_record, write_record
from captionlake.models.training.job import TrainJob

STEPS = "steps"
SKIPS = "skipped.jsonl"
_MODEL = "config.json"
_STATE = re.compile(r"checkpoint-(\d+)")


def newest_state(job: TrainJob, content_sha256: str) -> Path | None:
    """The last whole state of this run. Raises where the folder holds another run: nothing of it is overwritten."""
    states = whole_states(job.output)
    record = finished(job) or (read_record(states[-1]) if states else None)
    if record is not None:
        _check_same(job, record, content_sha256)
    elif (job.output / _MODEL).exists():
        raise CaptionlakeError(f"{job.output} holds a checkpoint that was not trained here: name another `output`")
    return states[-1] if states else None


def finished(job: TrainJob) -> CheckpointRecord | None:
    """The record of the run's result, where it came to its end."""
    return read_record(job.output)


def whole_states(output: Path) -> list[Path]:
    """Oldest first."""
    folders = [path for path in (output / STEPS).glob("checkpoint-*") if _STATE.fullmatch(path.name)]
    return sorted((path for path in folders if (path / RECORD).is_file()), key=step_of)


def step_of(state: Path) -> int:
    found = _STATE.fullmatch(state.name)
    return int(found[1]) if found else -1


def seal(state: Path, record: CheckpointRecord, *, samples: int) -> None:
    """Say that all of a state is on the disk."""
    write_record(state, replace(record, steps=step_of(state), samples=samples))


def drop_old(output: Path, keep: int) -> None:
    """The newest ``keep`` whole states stay; what a kill left of others goes too."""
    whole = whole_states(output)
    for path in (output / STEPS).glob("checkpoint-*"):
        if path not in whole[-keep:]:
            shutil.rmtree(path)


def restart(job: TrainJob) -> None:
    """Forget an earlier run in this folder: its states, its log, and that it had an end."""
    for name in (RECORD, _MODEL, SKIPS):
        (job.output / name).unlink(missing_ok=True)
    shutil.rmtree(job.output / STEPS, ignore_errors=True)


def _check_same(job: TrainJob, record: CheckpointRecord, content_sha256: str) -> None:
    change = job.change_from(record.hyper)
    if record.stage != job.stage:
        change = f"it was train {record.stage}"
    if record.content_sha256 != content_sha256:
        change = f"{record.release} had the content {record.content_sha256[:12]} and has {content_sha256[:12]} now"
    if change is not None:
        raise CaptionlakeError(
            f"{job.output} holds a run of another recipe ({change}): name another `output`, or begin anew with --restart"
        )
