"""What several benchmarks measure alike: a median of runs, and a command as a process of its own."""

import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CHILD = """
import os, resource, sys, time
os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"
from captionlake.cli import main
sys.argv = ["captionlake", *sys.argv[1:]]
started = time.perf_counter()
try:
    main()
finally:
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(time.perf_counter() - started, used.ru_utime + used.ru_stime, used.ru_maxrss, file=sys.stderr)
"""


@dataclass(frozen=True, slots=True)
class Ran:
    """One ``captionlake`` process: seconds in the command without Python's start, seconds of processor, largest memory in MB."""

    seconds: float
    processor: float
    memory: float


def command(*arguments: str) -> Ran:
    """Run ``captionlake ARGUMENTS``; ends this process with its message where it fails."""
    done = subprocess.run([sys.executable, "-c", CHILD, *arguments], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    seconds, processor, memory = done.stderr.splitlines()[-1].split()
    return Ran(float(seconds), float(processor), int(memory) * 1024 / 1e6)


def rate(path: Path, ran: Ran, *, goal_rate: int = 100, goal_memory: int = 1000) -> str:
    """Megabytes a second of the command that wrote a file, and the time that a plain copy of the file takes."""
    size = path.stat().st_size / 1e6
    started = time.perf_counter()
    shutil.copyfile(path, path.with_suffix(".copy"))
    copied = time.perf_counter() - started
    path.with_suffix(".copy").unlink()
    return (
        f"{size:,.0f} MB at {size / ran.seconds:,.0f} MB/s (goal: {goal_rate}), {size / ran.processor:,.0f} MB a second of processor, "
        f"{ran.memory:,.0f} MB of memory (goal: under {goal_memory:,}); a copy of the file takes {copied:.1f} s"
    )


def median(what: Callable[[], object], runs: int = 7) -> float:
    """Median seconds, after one run that does not count."""
    what()
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        what()
        times.append(time.perf_counter() - started)
    return statistics.median(times)
