"""Who holds a lock: for those who wait for it."""

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

STUCK_SECONDS = 300.0  # a commit takes about a second, and others wait for it no longer than this


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """``who`` in words; whether it is ``stuck``; the command that lets it go on, or ends it."""

    who: str
    stuck: bool
    mend: str


def holder_of(lock: Path) -> Holder | None:
    """The process that has a lock on a file, by Linux's list of them; None where nobody has, or there is no such list."""
    try:
        wanted, lines = lock.stat(), Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        fields = line.split()  # 1: FLOCK ADVISORY WRITE 4711 fd:01:131077 0 EOF; of those that wait the second is ->
        if fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == str(wanted.st_ino) and _has_open(fields[4], wanted):
            return _process(int(fields[4]))
    return None


def _has_open(pid: str, wanted: os.stat_result) -> bool:
    """Whether it is this file, and not another device's of the same number; so where its process is not ours to look at."""
    try:
        return any(os.path.samestat(path.stat(), wanted) for path in Path(f"/proc/{pid}/fd").iterdir() if path.exists())
    except PermissionError:
        return True
    except OSError:
        return False


def _process(pid: int) -> Holder:
    try:
        said = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        said, state = [], "?"
    words = shlex.join(word.decode(errors="replace") for word in said)[:400]
    stopped = state in ("T", "t")
    return Holder(
        who=f"process {pid}{f' ({words})' if words else ''}{', stopped,' if stopped else ''}",
        stuck=stopped,
        mend=f"kill -CONT {pid}" if stopped else f"kill {pid}",
    )
