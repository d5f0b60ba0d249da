"""The tiny captioner (random weights) stands where the teacher stood: lake, ``captionlake serve``, captions by it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from click.testing import CliRunner

from captionlake.lake import Lake
from captionlake.models.serve_command import serve
from captionlake.models.teacher import Teacher, TeacherConfig

from ..conftest import Photographed

_START_SECONDS = 180


@pytest.fixture
def served(tiny_captioner: Path, tmp_path: Path) -> Iterator[str]:
    """The address of a server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path / "log"
    options = ["--device", "cpu", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as out:
        server = subprocess.Popen(
            [sys.executable, "-m", "captionlake", "serve", str(tiny_captioner), *options],
            stdout=out, stderr=out, env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )  # fmt: skip
    try:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                urlopen(f"http://127.0.0.1:{port}/health", timeout=5).read()
                break
            except (URLError, OSError):
                assert server.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.3)
        assert f'the model is named "{tiny_captioner}"' in log.read_text()
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(30)


def test_captions_by_a_served_captioner(
    served: str, lake: Lake, photographed: Photographed, tiny_captioner: Path
) -> None:
    rows = photographed(3)
    config = TeacherConfig(model=str(tiny_captioner), base_url=served, max_tokens=16, price="free", max_concurrency=2)
    teacher = Teacher.asked(config, "sharegpt4v")
    run = teacher.caption(lake, rows)
    assert (run.captioned, run.n_failed, run.left) == (3, 0, 0)
    found = lake.rows("SELECT kind, producer, output_tokens, finish_reason FROM captions")
    assert len(found) == 3
    for kind, producer, tokens, reason in found:
        assert (kind, producer) == ("teacher", f"openai:{tiny_captioner}")
        assert 0 < tokens <= 16 and reason in ("stop", "length")


def test_what_is_not_served(llava: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    assert "no such folder" in str(runner.invoke(serve, ["/no/such"]).exception)
    refused = runner.invoke(serve, [str(llava), "--trust-remote-code"])
    assert refused.exit_code == 2 and "would run code" in refused.output
