"""A job's settings as transformers' ``TrainingArguments`` has them, and what follows from the number of processes."""

import math
from typing import Any

from captionlake.errors import CaptionlakeError
from captionlake.models.training.job import TrainJob
from captionlake.models.training.states import STEPS
from captionlake.models.training.train_config import TrainConfig, nearest_multiple
from captionlake.placement import Placement, place


def placement_of(train: TrainConfig) -> Placement:
    """The GPU where there is one; "auto" is bf16 there, if it computes in it, and fp32 on a processor."""
    found = place("auto", train.precision, extra="train")
    return found if found.on_gpu or train.precision != "auto" else Placement(found.device, "fp32")


def accumulation(train: TrainConfig, processes: int) -> int:
    """Micro-batches that a step adds up on each GPU. Raises where ``batch_size`` is no whole number of them."""
    at_once = train.per_device * processes
    if train.batch_size % at_once:
        raise CaptionlakeError(
            f"batch_size = {train.batch_size} is no multiple of per_device x GPUs = {train.per_device} x {processes} = {at_once}: "
            f"take batch_size = {nearest_multiple(train.batch_size, at_once)}, or another per_device"
        )
    return train.batch_size // at_once


def epoch_steps(train: TrainConfig, samples: int) -> int:
    """Steps of an epoch. Raises where the release does not fill one."""
    if samples < train.batch_size:
        raise CaptionlakeError(
            f"batch_size = {train.batch_size} is more than the {samples:,} samples that there are: lower it"
        )
    return -(-samples // train.batch_size)


def all_steps(train: TrainConfig, samples: int) -> int:
    """Steps of the run."""
    steps = epoch_steps(train, samples) * train.epochs
    return steps if train.max_steps is None else min(steps, train.max_steps)


def arguments(job: TrainJob, model: Any, placement: Placement, *, processes: int, steps: int) -> Any:
    """``TrainingArguments``."""
    from transformers import TrainingArguments

    train = job.train
    if train.fsdp and processes == 1:
        raise CaptionlakeError(
            "fsdp = true shards over several processes and this is one: start with  torchrun --nproc_per_node GPUS -m captionlake "
            f"train {job.stage} {job.path.name}, or leave fsdp out"
        )
    return TrainingArguments(
        output_dir=str(job.output / STEPS),
        per_device_train_batch_size=train.per_device,
        gradient_accumulation_steps=accumulation(train, processes),
        max_steps=steps,
        learning_rate=train.lr,
        lr_scheduler_type="constant_with_warmup" if train.schedule == "constant" else train.schedule,
        warmup_steps=math.ceil(train.warmup_ratio * steps),
        weight_decay=train.weight_decay,
        max_grad_norm=train.max_grad_norm,
        bf16=placement.precision == "bf16",
        use_cpu=not placement.on_gpu,
        activation_checkpointing=train.gradient_checkpointing and not train.fsdp,  # FSDP has its own
        activation_checkpointing_kwargs={"use_reentrant": False},
        seed=train.seed,
        logging_steps=train.log_every,
        logging_nan_inf_filter=False,  # a loss that is no number stops the run
        save_strategy="steps",
        save_steps=train.save_every,
        dataloader_num_workers=train.workers,
        dataloader_pin_memory=placement.on_gpu,
        dataloader_persistent_workers=train.workers > 0,
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,
        average_tokens_across_devices=True,  # a token weighs the same, whichever process reads it
        report_to=[],
        disable_tqdm=True,
        fsdp=True if train.fsdp else None,
        fsdp_config=_fsdp(model, checkpointing=train.gradient_checkpointing) if train.fsdp else None,
    )


def _fsdp(model: Any, *, checkpointing: bool) -> dict[str, Any]:
    """FSDP2 around each block of the towers and of the language model."""
    from transformers import PreTrainedModel

    blocks = {
        name
        for module in model.modules()
        if isinstance(module, PreTrainedModel)
        for name in module._no_split_modules or ()
    }
    there = {type(module).__name__ for module in model.modules()}
    return {
        "version": 2,
        "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "transformer_layer_cls_to_wrap": sorted(blocks & there),
        "state_dict_type": "SHARDED_STATE_DICT",
        "activation_checkpointing": checkpointing,
    }
