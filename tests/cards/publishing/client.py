"""The real command line against the local Hub, in forks of one process that has imported what takes long.

huggingface_hub reads HF_ENDPOINT when it is imported, so the process that forks is begun with it. A child can be killed like any process.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WRITER, READER = "hf_writertoken0", "hf_readertoken0"

_FORKING = """
import importlib, json, os, sys, traceback
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
sys.modules["captionlake.cards.publishing.hub"].FIRST_WAIT = 0.01
sys.modules["captionlake.cards.dataset_card"].caption_lengths = lambda facts: {}  # half of a card's time, and tested there
from captionlake.lake import catalog
catalog._checked.update(map(catalog.extension_path, ("ducklake", "sqlite_scanner")))  # else each fork hashes 70 MB

def run(told):
    for descriptor, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(told[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    os.environ.update(told["env"])
    status = 0
    try:
        if told["code"]:
            exec(told["code"], {"__name__": "__main__", "arguments": told["arguments"]})
        else:
            sys.argv = ["captionlake", *told["arguments"]]
            sys.modules["captionlake.cli"].main()
    except SystemExit as end:
        status = end.code or 0
    except BaseException:
        traceback.print_exc()
        status = 3
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(status)

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        run(json.loads(line))
    print(child, flush=True)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""
_MODULES = (
    "captionlake.cli",
    "captionlake.pipeline",
    "captionlake.cards.publishing.checkpoint",
    "captionlake.cards.publishing.publish",
    "captionlake.cards.contact_sheet",
    "captionlake.cards.dataset_card",
    "captionlake.curation.selection",
    "captionlake.lake.ingest_job",
    "captionlake.lake.sources",
    "captionlake.lake.exports.forms",
    "captionlake.lake.releases.verification",
    "huggingface_hub.hf_api",
    "huggingface_hub.hf_file_system",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_svg",
    "matplotlib.pyplot",
    "pandas",
    "pyarrow.parquet",
)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: -9 where it was killed."""

    status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """What it printed, where it did what it should."""
        assert self.status == 0, self.stderr
        return json.loads(self.stdout)

    @property
    def error(self) -> str:
        """What it failed with, a line a problem."""
        assert self.status == 1 and self.stdout == "", (self.stdout, self.stderr)
        assert all(line.startswith("error: ") for line in self.stderr.splitlines()), self.stderr
        return self.stderr


@dataclass
class Client:
    """Runs commands; ``child`` is the process of the one that runs."""

    folder: Path
    endpoint: str
    child: int = 0
    process: "subprocess.Popen[str]" = field(init=False)

    def __post_init__(self) -> None:
        env = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        env |= {"HF_ENDPOINT": self.endpoint, "HF_HOME": str(self.folder / "home"), "HF_HUB_DISABLE_XET": "1"}
        env |= {"HF_HUB_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", _FORKING, json.dumps(_MODULES)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )

    def close(self) -> None:
        """End the process that forks."""
        self.process.communicate()

    def run(self, *arguments: object, token: str | None = WRITER, code: str = "") -> Ended:
        """A command, or Python ``code`` that finds the arguments in ``arguments``. No token is ever printed."""
        out, err = self.folder / "out", self.folder / "err"
        told: dict[str, Any] = {
            "arguments": [str(a) for a in arguments],
            "code": code,
            "out": str(out),
            "err": str(err),
        }
        told["env"] = {"HF_TOKEN": token} if token else {}
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(told) + "\n")
        self.process.stdin.flush()
        self.child = int(self.process.stdout.readline())
        status = int(self.process.stdout.readline())
        ended = Ended(status, out.read_text(), err.read_text())
        assert not any(secret in ended.stdout + ended.stderr for secret in (WRITER, READER))
        assert "Traceback" not in ended.stderr, ended.stderr
        return ended
