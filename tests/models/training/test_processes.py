"""Several processes on a processor (gloo), started by torchrun, train what one does."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from captionlake.models.training.log_file import read_log

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def run(path: Path, stage: str, processes: int) -> str:
    start = ["-m"]
    if processes > 1:
        start = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes), "-m"]
    command = [sys.executable, *start, "captionlake", "train", stage, str(path)]
    told = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=600)
    assert told.returncode == 0, told.stderr[-3000:]
    return told.stdout


def losses(folder: Path) -> list[float]:
    return [line.loss for line in read_log(folder / "log.csv")]


def same(one: Path, other: Path) -> None:
    """The same curve and the same weights, but for the order of sums in fp32."""
    torch.testing.assert_close(losses(one), losses(other), rtol=1e-5, atol=1e-6)
    left, right = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    assert left.keys() == right.keys()
    for name in left:
        torch.testing.assert_close(left[name], right[name], rtol=1e-3, atol=2e-4)
    start = (one / "config.json").read_text()
    assert start == (other / "config.json").read_text()


@pytest.mark.parametrize("fsdp", [False, True])
def test_two_processes_train_what_one_does(fsdp: bool, recipe: Callable[..., Path]) -> None:
    # conversations with and without pictures, in micro-batches of one kind: gradients of the projector are missing on no process
    settings = {"data": {"release": "mix@1.0.0"}, "model": {"trained": ["vision:1-", "projector", "language"]}}
    train = {"per_device": 2, "max_steps": 6, "save_every": 4}
    one = recipe("one", **settings, train=train)
    two = recipe("two", **settings, train={**train, "fsdp": fsdp})
    run(one, "sft", 1)
    assert run(two, "sft", 2).count("checkpoint:") == 1  # the first rank alone tells
    same(one.parent / "one", two.parent / "two")
