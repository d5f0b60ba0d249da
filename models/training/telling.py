"""What a run tells while it trains: lines and a bar on the terminal, log.csv, TensorBoard, the plot. On the first rank alone."""

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from captionlake.errors import require
from captionlake.lake.progress import progress
from captionlake.models.training.curve import loss_figures
from captionlake.models.training.log_file import LOG, LogFile, LogLine, read_log


class Telling(TrainerCallback):  # type: ignore[misc]
    """``batch_size`` samples a step, ``epoch_steps`` steps an epoch."""

    def __init__(self, folder: Path, *, batch_size: int, epoch_steps: int, title: str) -> None:
        self._folder, self._batch_size, self._epoch_steps, self._title = folder, batch_size, epoch_steps, title
        self._open = ExitStack()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if not state.is_world_process_zero:
            return
        self._began, self._first = time.monotonic(), state.global_step
        self._file = LogFile(self._folder / LOG, state.global_step)
        self._open.callback(self._file.close)
        self._board = _tensorboard(self._folder / "tensorboard", state.global_step)
        if self._board is not None:
            self._open.callback(self._board.close)
        self._advance: Callable[[int], None] = self._open.enter_context(progress("steps", state.max_steps))
        self._advance(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            self._advance(1)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
        if not state.is_world_process_zero or "loss" not in logs:
            return
        seconds = time.monotonic() - self._began
        line = LogLine(
            step=state.global_step,
            epoch=state.global_step / self._epoch_steps,
            loss=logs["loss"],
            grad_norm=float(logs["grad_norm"]),
            lr=logs["learning_rate"],
            samples=state.global_step * self._batch_size,
            samples_per_s=(state.global_step - self._first) * self._batch_size / seconds,
            seconds=seconds,
        )
        self._file.add(line)
        sys.stderr.write(
            f"step {line.step:,} of {state.max_steps:,}: loss {line.loss:.4f}, gradient {line.grad_norm:.3g}, "
            f"rate {line.lr:.3g}, {line.samples_per_s:.3g} samples/s\n"
        )
        if self._board is not None:
            for name in ("loss", "grad_norm", "lr", "samples_per_s"):
                self._board.add_scalar(f"train/{name}", getattr(line, name), line.step)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            for name, content in loss_figures(read_log(self._folder / LOG), self._title).items():
                (self._folder / name).write_bytes(content)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Leave the terminal as it was, also where training ends by an error."""
        self._open.close()


def _tensorboard(folder: Path, step: int) -> Any:
    """A writer whose later steps, of an interrupted run, are not shown. None where TensorBoard is not installed."""
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        return None
    boards: Any = require("torch.utils.tensorboard", extra="train")
    return boards.SummaryWriter(str(folder), purge_step=step + 1)
