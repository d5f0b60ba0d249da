"""A training run from its job to the checkpoint's folder, in one process or in each of those that torchrun starts."""

import copy
import importlib.metadata
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate import PartialState
from transformers import PrinterCallback, set_seed
from transformers.trainer_callback import ProgressCallback

from captionlake.errors import CaptionlakeError, require
from captionlake.lake import Lake
from captionlake.lake.runs import note_run
from captionlake.models.checkpoint import CheckpointRecord
from captionlake.models.data import ReleaseData, SkipLog
from captionlake.models.data.release_dataset import ReleaseDataset
from captionlake.models.lmm import Collator, Prepare
from captionlake.models.lmm.templates import TEMPLATES, template_of
from captionlake.models.memory import out_of_memory
from captionlake.models.parts import parts_of
from captionlake.models.training import states
from captionlake.models.training.arguments import accumulation, all_steps, arguments, epoch_steps, placement_of
from captionlake.models.training.job import TrainJob
from captionlake.models.training.log_file import LOG, read_log
from captionlake.models.training.lora import add_lora
from captionlake.models.training.order import RunOrder, grouped, shuffled
from captionlake.models.training.saving import Keeping, save_result
from captionlake.models.training.starting import start
from captionlake.models.training.telling import Telling
from captionlake.models.training.trainer import ReleaseTrainer
from captionlake.placement import Placement

log = logging.getLogger(__name__)

_PACKAGES = ("captionlake", "torch", "transformers", "accelerate")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainReport:
    """``new``: whether there was something left to do. ``resumed_at``: the step of the state gone on from. ``skipped``: samples by
    reason. ``loss``: of the first and of the last line of the log."""

    output: Path
    release: str
    content_sha256: str
    steps: int
    samples: int
    trained: int
    parameters: int
    loss: tuple[float, float] | None
    skipped: dict[str, int]
    new: bool
    resumed_at: int | None = None
    seconds: float = 0.0


def train(job: TrainJob, *, restart: bool = False) -> TrainReport:
    """Train, or go on from the newest whole state. Every rank gets the report. Raises what a user can mend in one line."""
    require("peft" if job.lora else "accelerate", extra="train")
    placement = placement_of(job.train)
    process = PartialState(cpu=not placement.on_gpu)
    accumulation(job.train, process.num_processes)
    with process.main_process_first():
        data = ReleaseData.open(job.lake, job.data.release, split=job.data.split)
    if restart and process.is_main_process:
        states.restart(job)
    process.wait_for_everyone()
    state = states.newest_state(job, data.content_sha256)
    steps = all_steps(job.train, len(data))
    if (record := states.finished(job)) is not None:
        return _report(job, data, record, (0, 0), new=False)
    _warn(placement, process)

    transformers.logging.disable_progress_bar()  # of loading and saving; training has its own
    set_seed(job.train.seed)
    with out_of_memory(_advice(job, process.num_processes)), _of_workers():
        model, processor = start(job, data)
        if job.lora is not None:
            add_lora(model, job.lora)
            if placement.precision == "bf16":
                _halve_frozen(model)
        record = new_record(job, data, steps)
        config = copy.deepcopy(model.config)
        model.config.text_config.use_cache = False  # of keys and values, which only generation reads again
        count = _count(model)
        trainer, telling = make_trainer(job, data, model, processor, record, placement)
        began = time.monotonic()
        try:
            trainer.train(resume_from_checkpoint=None if state is None else str(state))
        finally:
            telling.close()
    save_result(trainer, processor, job, record, config=config)
    if process.is_main_process:
        _note(job, record, time.monotonic() - began)
    report = _report(job, data, record, count, new=True)
    return replace(
        report, resumed_at=None if state is None else states.step_of(state), seconds=time.monotonic() - began
    )


def _note(job: TrainJob, record: CheckpointRecord, seconds: float) -> None:
    """In the lake, so that whoever takes a picture down learns which checkpoints were trained on it."""
    detail = {"output": str(job.output), "stage": job.stage, "content_sha256": record.content_sha256}
    counts = {"steps": record.steps, "samples": record.samples, "seconds": round(seconds, 3)}
    try:
        with Lake.open(job.lake) as lake:
            note_run(lake, "train", target=record.release, detail=detail, counts=counts)
    except (CaptionlakeError, OSError) as error:
        log.warning("the lake does not know of %s (%s): a takedown will not name it", job.output, error)


def make_trainer(
    job: TrainJob, data: ReleaseData, model: Any, processor: Any, record: CheckpointRecord, placement: Placement
) -> tuple[ReleaseTrainer, Telling]:
    """A Trainer of the job's samples, and what tells of its run, which is to be closed."""
    train = job.train
    prepare = Prepare(processor, job.template, question=question_of(job), max_text_tokens=job.data.max_length)
    batch, seed = train.batch_size, train.seed
    order = grouped(data, batch, seed) if job.grouped else shuffled(len(data), seed)
    telling = Telling(
        job.output,
        batch_size=batch,
        epoch_steps=epoch_steps(train, len(data)),
        title=f"{job.output.name}: train {job.stage} on {job.data.release}",
    )
    trainer = ReleaseTrainer(
        order=RunOrder(order, batch, record.steps),
        label=job.data.release,
        vision=parts_of(model)["vision"],
        vision_lr=job.model.vision_lr,
        model=model,
        args=arguments(job, model, placement, processes=PartialState().num_processes, steps=record.steps),
        train_dataset=ReleaseDataset(data, prepare, SkipLog(job.output / states.SKIPS)),
        data_collator=Collator(processor, always_picture=not data.modalities().all(), positions=True),
        callbacks=[telling, Keeping(job, processor, record)],
    )
    if train.fsdp and not trainer.is_fsdp_enabled:  # accelerate leaves it out without a word where there is no GPU
        raise CaptionlakeError("fsdp = true shards over GPUs, and none is found: leave it out")
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    return trainer, telling


def question_of(job: TrainJob) -> str | None:
    """What is asked about the pictures of a release of images; None where the template drops it."""
    from captionlake.models.captioner import UNIFIED_PROMPT

    if job.template in TEMPLATES and template_of(job.template).drops_text:
        return None
    return job.data.question or UNIFIED_PROMPT


def new_record(job: TrainJob, data: ReleaseData, steps: int) -> CheckpointRecord:
    """What the checkpoint says of itself."""
    hyper = job.hyper()
    return CheckpointRecord(
        family=job.family,
        name=job.output.name,
        stage=job.stage,
        template=job.template,
        question=question_of(job),
        release=data.label,
        content_sha256=data.content_sha256,
        recipe_sha256=job.recipe_sha256,
        recipe=job.text,
        steps=steps,
        samples=steps * job.train.batch_size,
        start=hyper["model"]["start"],
        hyper=hyper,
        versions={name: importlib.metadata.version(name) for name in _PACKAGES},
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _report(
    job: TrainJob, data: ReleaseData, record: CheckpointRecord, count: tuple[int, int], *, new: bool
) -> TrainReport:
    lines = read_log(job.output / LOG)
    return TrainReport(
        output=job.output,
        release=data.label,
        content_sha256=data.content_sha256,
        steps=record.steps,
        samples=record.samples,
        trained=count[0],
        parameters=count[1],
        loss=(lines[0].loss, lines[-1].loss) if lines else None,
        skipped=dict(SkipLog(job.output / states.SKIPS).counts()),
        new=new,
    )


def _count(model: Any) -> tuple[int, int]:
    """Parameters that are trained, and all."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return sum(size for size, trained in sizes if trained), sum(size for size, _ in sizes)


def _warn(placement: Placement, process: PartialState) -> None:
    if not process.is_main_process:
        return
    if not placement.on_gpu:
        log.warning(
            "no GPU is found: training runs on the processor, which is for small models; --plan tells what a GPU takes"
        )
    elif process.num_processes == 1 and torch.cuda.device_count() > 1:
        log.warning(
            "%d GPUs are here and one is used: start with  torchrun --nproc_per_node %d -m captionlake train …",
            *[torch.cuda.device_count()] * 2,
        )


def _halve_frozen(model: Any) -> None:
    """The language model's weights in bf16: they are only read."""
    for parameter in parts_of(model)["language"]:
        if not parameter.requires_grad:
            parameter.data = parameter.data.bfloat16()


@contextmanager
def _of_workers() -> Iterator[None]:
    """An error of a process that reads, without that process's traceback, which torch puts around it."""
    try:
        yield
    except CaptionlakeError as error:
        if not str(error).startswith("Caught "):
            raise
        raise CaptionlakeError(str(error).strip().rpartition("CaptionlakeError: ")[2]) from error


def _advice(job: TrainJob, processes: int) -> str:
    """What to lower, the setting that costs least first."""
    train = job.train
    ways = [
        "set gradient_checkpointing = true" if not train.gradient_checkpointing else "",
        f"lower per_device ({train.per_device} now; batch_size may stay)" if train.per_device > 1 else "",
        "set fsdp = true" if processes > 1 and not train.fsdp else "",
        f"lower max_length ({job.data.max_length} now)",
        "add [lora]" if job.lora is None else "",
    ]
    return f"out of memory: {', or '.join(filter(None, ways))}; --plan tells what each takes"
