"""Several processes on a processor (gloo), started by torchrun, train what one does."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file

from captionlake.models.training.log_file import read_log

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


LAUNCHER = Path(__file__).with_name("fsdp_on_processors.py")


def run(path: Path, processes: int = 1, *, fsdp: bool = False) -> str:
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)] if processes > 1 else []
    start += [str(LAUNCHER)] if fsdp else ["-m", "captionlake"]
    command = [sys.executable, *start, "train", "sft", str(path)]
    told = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=600)
    assert told.returncode == 0, told.stderr[-3000:]
    return told.stdout


def same(one: Path, other: Path) -> None:
    """The same curve and the same weights, but for the order of sums in fp32; and nothing of the processes in the config."""
    left, right = ([line.loss for line in read_log(folder / "log.csv")] for folder in (one, other))
    torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-6)
    weights, others = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    assert weights.keys() == others.keys()
    for name in weights:
        torch.testing.assert_close(weights[name], others[name], rtol=1e-3, atol=2e-4)
    assert (one / "config.json").read_text() == (other / "config.json").read_text()


def test_two_processes_train_what_one_does(recipe: Callable[..., Path]) -> None:
    # conversations with and without pictures: no process waits for a gradient of the projector that another has not
    settings = {"data": {"release": "mix@1.0.0"}, "model": {"trained": ["vision:1-", "projector", "language"]}}
    train = {"per_device": 2, "max_steps": 6, "save_every": 4}
    one, two = recipe("one", **settings, train=train), recipe("two", **settings, train=train)
    shards = recipe("shards", **settings, train={**train, "fsdp": True})
    folder = one.parent
    run(one)
    assert run(two, 2).count("checkpoint:") == 1  # the first rank alone tells
    same(folder / "one", folder / "two")

    run(shards, 2, fsdp=True)
    same(folder / "one", folder / "shards")
    assert (
        folder / "shards" / "steps" / "checkpoint-4" / "pytorch_model_fsdp_0"
    ).is_dir()  # each process has saved its part
    (folder / "shards" / "captionlake.json").unlink()
    shutil.rmtree(folder / "shards" / "steps" / "checkpoint-6")
    assert "since step 4" in run(shards, 2, fsdp=True)
    same(folder / "one", folder / "shards")
