"""The teacher against a real server of the field, ``transformers serve``. Its model is random (``random_llava.py``)."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pyarrow as pa
import pytest

from captionlake.lake import Lake
from captionlake.models.prompts import PromptSet
from captionlake.models.teacher import TeacherConfig, caption

from .random_llava import save_random_llava

_START_SECONDS = 180


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """(base_url, the model's name) of a server that runs as its users start it."""
    folder = tmp_path_factory.mktemp("serve") / "random-llava"
    save_random_llava(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(folder)]
    options = ["--device", "cpu", "--host", "127.0.0.1", "--port", str(port)]
    log = folder.with_name("log")
    with log.open("wb") as out:
        server = subprocess.Popen(
            [*command, *options], stdout=out, stderr=out, env={**os.environ, "HF_HUB_OFFLINE": "1"}
        )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                urlopen(f"http://127.0.0.1:{port}/health", timeout=5).read()
                break
            except (URLError, OSError):
                assert server.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.3)
        yield f"http://127.0.0.1:{port}/v1", str(folder)
    finally:
        server.terminate()
        server.wait(30)


def test_captions_of_a_real_server_are_kept(
    served: tuple[str, str], lake: Lake, photographed: Callable[[int], pa.Table]
) -> None:
    url, model = served
    rows = photographed(6)
    config = TeacherConfig(
        model=model, producer="openai:random-llava", base_url=url, max_tokens=24, temperature=0.7, price="free",
        max_concurrency=4,
    )  # fmt: skip
    run = caption(lake, rows, config, PromptSet.read("sharegpt4v"))
    assert (run.captioned, run.n_failed, run.left, run.cost_usd) == (6, 0, 0, 0.0)
    stored = lake.rows(
        "SELECT producer, kind, finish_reason, input_tokens, output_tokens, chars, prompt_id FROM captions"
    )
    assert len(stored) == 6
    for producer, kind, finish, into, out, chars, prompt_id in stored:
        assert (producer, kind, prompt_id) == ("openai:random-llava", "teacher", "sharegpt4v/natural")
        assert finish in ("length", "stop") and into > 100 and 0 < out <= 24 and chars > 0
    assert caption(lake, rows, config, PromptSet.read("sharegpt4v")).requests == 0
