"""Runs that are killed (SIGKILL) and run again are the run that nobody killed, to the bit, on a processor."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_file

from captionlake.models.training.log_file import LogLine, read_log
from captionlake.models.training.states import whole_states

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def run(path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "captionlake", "train", "sft", str(path), *options]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)


def kill_at(path: Path, log: Path, step: int) -> None:
    """Start a run, and kill it once it has logged this step."""
    process = subprocess.Popen(
        [sys.executable, "-m", "captionlake", "train", "sft", str(path)],
        env=ENVIRONMENT,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    end = time.monotonic() + 300
    while not any(line.step >= step for line in read_log(log)):
        assert process.poll() is None and time.monotonic() < end, "it came to its end before it could be killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()


def curve(path: Path) -> list[tuple[int, float, float, float]]:
    return [(line.step, line.loss, line.grad_norm, line.lr) for line in read_log(path)]


def test_a_killed_run_goes_on_along_the_same_curve(recipe: Callable[..., Path]) -> None:
    settings = {
        "data": {"release": "mix@1.0.0"},
        # dropout draws random numbers, so that the state of the generators matters too
        "lora": {"rank": 4, "dropout": 0.2},
        "train": {"epochs": 3, "save_every": 3, "keep": 1},
    }
    whole, killed = recipe("whole", **settings), recipe("killed", **settings)
    told = run(whole)
    assert told.returncode == 0, told.stderr

    output = killed.parent / "killed"
    kill_at(killed, output / "log.csv", 5)
    assert [state.name for state in whole_states(output)] == ["checkpoint-3"]
    assert not (output / "captionlake.json").exists()
    half = output / "steps" / "checkpoint-4"  # as a kill in the middle of saving leaves it
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")
    told = run(killed)
    assert told.returncode == 0, told.stderr
    assert "since step 3" in told.stdout

    assert curve(output / "log.csv") == curve(whole.parent / "whole" / "log.csv")
    assert len(curve(output / "log.csv")) == 12
    one, other = (load_file(folder / "model.safetensors") for folder in (output, whole.parent / "whole"))
    assert one.keys() == other.keys()
    assert all(one[name].equal(other[name]) for name in one)
    assert [state.name for state in whole_states(output)] == ["checkpoint-12"]
    assert not half.exists()

    told = run(killed)
    assert told.returncode == 0 and "is finished" in told.stdout
    assert LogLine(*[0] * 8) not in read_log(output / "log.csv")
