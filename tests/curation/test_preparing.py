"""Pictures prepared by threads and by processes: the same, in order, and nothing lost without a word."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from captionlake.curation.encoding import Encoding
from captionlake.curation.model import EmbedConfig, load_model
from captionlake.curation.preparing import Preparation, Processes, Threads
from captionlake.errors import CaptionlakeError

RandomClip = Callable[..., Path]
Made = list[tuple[str, torch.Tensor]]


@pytest.fixture(scope="module")
def prepare(random_clip: RandomClip) -> Any:
    return load_model(EmbedConfig(model="random-weights-vit", pretrained=str(random_clip()), device="cpu")).prepare


@pytest.fixture(scope="module")
def processes(prepare: Any) -> Iterator[Processes]:
    with closing(Processes(prepare, 2)) as made:
        yield made


def many(photographs: dict[str, bytes], times: int = 10) -> list[tuple[str, bytes]]:
    return [(f"{n}-{name}", data) for n in range(times) for name, data in photographs.items()]


def same(one: Made, other: Made) -> bool:
    ids = [image_id for image_id, _ in one] == [image_id for image_id, _ in other]
    return ids and all(torch.equal(a, b) for (_, a), (_, b) in zip(one, other, strict=True))


def test_processes_prepare_what_threads_prepare_in_the_same_order(
    prepare: Any, processes: Processes, photographs: dict[str, bytes]
) -> None:
    """And again, after a run that nobody read to its end."""
    pictures = many(photographs)
    expected = [(image_id, prepare(data)) for image_id, data in pictures]
    for beside in (True, False):
        with closing(Threads(prepare, 3, beside=beside, ahead=7)) as threads:
            assert same(list(threads.run(pictures)), expected)
    assert same(list(processes.run(pictures)), expected)
    assert len(list(islice(processes.run(pictures), 3))) == 3
    assert same(list(processes.run(reversed(pictures))), expected[::-1])
    assert list(processes.run([])) == []


@pytest.mark.parametrize("by", ["threads", "processes"])
def test_a_broken_picture_is_named(prepare: Any, processes: Processes, photographs: dict[str, bytes], by: str) -> None:
    pictures = many(photographs, 3)
    pictures[17] = ("broken", b"no picture")
    threads = Threads(prepare, 2, beside=True, ahead=8)
    preparation: Preparation = threads if by == "threads" else processes
    left = list(pictures)
    found = preparation.run(pictures)
    with pytest.raises(CaptionlakeError, match=r"picture broken cannot be decoded .*restore its shard") as caught:
        for image_id, _ in found:
            assert image_id == left.pop(0)[0]
    assert left[0][0] == "broken"
    assert "\n" not in str(caught.value)
    threads.close()


def test_many_pictures_for_a_device_are_prepared_by_processes(
    random_clip: RandomClip, photographs: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the encoder says that batches should run side by side, as it does on a GPU; with the same vectors."""
    monkeypatch.setattr("captionlake.curation.encoding.MANY", 20)
    encoder = load_model(EmbedConfig(model="random-weights-vit", pretrained=str(random_clip()), device="cpu"))
    pictures = many(photographs, 3)
    found = {}
    for at_once, expected, kind in ((2, 30, Processes), (2, 19, Threads), (1, 30, Threads)):
        encoder.batches_at_once = at_once
        with closing(Encoding(encoder, batch_size=4, threads=2, expected=expected)) as encoding:
            assert type(encoding._preparation) is kind
            batches = list(encoding.run(pictures))
        assert [image_id for ids, _ in batches for image_id in ids] == [image_id for image_id, _ in pictures]
        found[at_once, expected] = torch.cat([torch.from_numpy(made) for _, made in batches])
    one, *others = found.values()
    assert all(torch.allclose(one, other, atol=1e-6) for other in others)


def test_a_killed_process_is_one_line(prepare: Any, photographs: dict[str, bytes]) -> None:
    with closing(Processes(prepare, 2)) as processes:
        run = processes.run(many(photographs, 100))
        next(run)
        worker = processes._loader._iterator._workers[0]  # type: ignore[union-attr]
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(CaptionlakeError, match="was killed, most likely for want of memory"):
            list(run)


SCRIPT = """
import os, signal, sys
from pathlib import Path
from captionlake.curation.model import EmbedConfig, load_model
from captionlake.curation.preparing import Processes

if __name__ == "__main__":
    prepare = load_model(EmbedConfig(model="random-weights-vit", pretrained=sys.argv[1], device="cpu")).prepare
    processes = Processes(prepare, 2)
    run = processes.run([("a", Path(sys.argv[2]).read_bytes())] * 1000)
    next(run)
    print(*(worker.pid for worker in processes._loader._iterator._workers), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_processes_end_with_the_one_that_started_them(
    random_clip: RandomClip, photographs: dict[str, bytes], tmp_path: Path
) -> None:
    """However it ends: they look for it every few seconds."""
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "picture").write_bytes(next(iter(photographs.values())))
    command = [sys.executable, str(tmp_path / "script.py"), str(random_clip()), str(tmp_path / "picture")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 2, done.stderr
    until = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < until, "a process is still there"
        time.sleep(0.5)
