"""What a run leaves: states to go on from, and the checkpoint itself."""

from typing import Any

from transformers import TrainerCallback

from captionlake.models.checkpoint import CheckpointRecord, write_record
from captionlake.models.training.job import TrainJob
from captionlake.models.training.lora import ADAPTER, save_adapter, without_lora
from captionlake.models.training.states import STEPS, drop_old, seal


class Keeping(TrainerCallback):  # type: ignore[misc]
    """A state that the Trainer has saved gets its processor and its record, and old ones go."""

    def __init__(self, job: TrainJob, processor: Any, record: CheckpointRecord) -> None:
        self._job, self._processor, self._record = job, processor, record

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        from accelerate import PartialState

        process = PartialState()
        process.wait_for_everyone()
        if state.is_world_process_zero:
            folder = self._job.output / STEPS / f"checkpoint-{state.global_step}"
            self._processor.save_pretrained(folder)
            seal(folder, self._record, samples=state.global_step * self._job.train.batch_size)
            drop_old(self._job.output, self._job.train.keep)
        process.wait_for_everyone()


def save_result(trainer: Any, processor: Any, job: TrainJob, record: CheckpointRecord, *, config: Any) -> None:
    """The checkpoint's folder, as ``from_pretrained`` reads it; its record is written last. All ranks are to call this.

    ``config``: the model's as it was before training, which changes some of it.
    """
    state = trainer.accelerator.get_state_dict(trainer.model) if job.train.fsdp else None
    if trainer.is_world_process_zero():
        model = trainer.model if state is None else _plain(trainer.model, config)
        model.config = config
        if job.lora is not None:
            learned = model.state_dict() if state is None else state
            if not job.lora.merge:
                save_adapter(learned, job.lora, job.output / ADAPTER)
            state = without_lora(learned, job.lora)
        model.save_pretrained(job.output, state_dict=state)
        processor.save_pretrained(job.output)
        write_record(job.output, record)
    trainer.accelerator.wait_for_everyone()


def _plain(sharded: Any, config: Any) -> Any:
    """The same model without weights and without what sharding made of its classes, by which its weights are named when they are saved."""
    import torch
    from transformers import AutoModelForImageTextToText

    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    model.generation_config = sharded.generation_config
    return model
