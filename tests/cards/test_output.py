"""A kill at any moment leaves the old card or the new one, whole."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from captionlake.cards import output
from captionlake.errors import CaptionlakeError

_WRITER = """
import sys
from pathlib import Path
from captionlake.cards import output
folder = Path(sys.argv[1])
print("ready", flush=True)
n = 0
while True:
    n += 1
    with output.staged(folder) as staging:
        output.write(staging, {"README.md": f"card {n} ".encode() * 5000, "facts.json": f"facts {n} ".encode() * 5000})
        output.place(staging, folder, set())
"""


def test_kill_at_random_moments(tmp_path: Path) -> None:
    moments = random.Random(0)
    for number in range(6):
        folder = tmp_path / f"card-{number}"  # each writer counts from 1
        process = subprocess.Popen([sys.executable, "-c", _WRITER, str(folder)], stdout=subprocess.PIPE)
        assert process.stdout is not None and process.stdout.readline()
        time.sleep(moments.uniform(0.02, 0.25))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        numbers = {}
        for name, word in (("README.md", "card"), ("facts.json", "facts")):
            if (folder / name).exists():
                parts = (folder / name).read_text().split(f"{word} ")[1:]
                assert len(parts) == 5000 and len(set(parts)) == 1, "half a file is visible"
                numbers[name] = int(parts[0])
        assert numbers.get("facts.json", 0) - numbers.get("README.md", 0) in (0, 1), "README.md comes last"


def test_what_a_killed_writer_left_is_swept_after_an_hour(tmp_path: Path) -> None:
    old, new = tmp_path / ".card.card-old", tmp_path / ".card.card-new"
    for folder in (old, new):
        folder.mkdir()
        (folder / "README.md").write_text("half")
    os.utime(old, (time.time() - 7200,) * 2)
    with output.staged(tmp_path / "card"):
        pass
    assert not old.exists() and new.exists()


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "card").write_text("mine")
    with pytest.raises(CaptionlakeError, match="is a file"), output.staged(tmp_path / "card"):
        pass
    assert (tmp_path / "card").read_text() == "mine"
