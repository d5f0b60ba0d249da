"""One thing that was looked at: how it is, what was found, and the command that mends it."""

import shlex
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """``problem``: something fails, is lost, or will be. ``note``: worth knowing; nothing fails for it."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """``check`` names what was looked at, ``where`` the file, table or package. ``mend``: the command to run, or what to do."""

    level: Level
    check: str
    what: str
    where: str = ""
    mend: str = ""


def ok(check: str, what: str, where: object = "") -> Finding:
    """All is well."""
    return Finding(level=Level.OK, check=check, what=what, where=str(where))


def note(check: str, what: str, where: object = "", mend: str = "") -> Finding:
    """Worth knowing."""
    return Finding(level=Level.NOTE, check=check, what=what, where=str(where), mend=mend)


def problem(check: str, what: str, where: object = "", mend: str = "") -> Finding:
    """To be mended."""
    return Finding(level=Level.PROBLEM, check=check, what=what, where=str(where), mend=mend)


def command(*words: object) -> str:
    """A command line as a shell takes it."""
    return shlex.join(map(str, words))


def size(n_bytes: float) -> str:
    """A number of bytes for people, in powers of 1024."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if n_bytes < 1024:
            return f"{n_bytes:,.0f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:,.1f} TiB"
