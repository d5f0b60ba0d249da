"""What an archive's listing yields, and the rules for the names of members."""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from captionlake.lake.reasons import FailureReason

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_DRIVE = re.compile("[A-Za-z]:")
_HIDDEN = re.compile(r"(?:^|/)(?:\.[^./]|\.\.[^/]|__MACOSX(?:/|$))")


class MemberError(Exception):
    """One member cannot be read: ``reason`` of the closed set and a detail."""

    def __init__(self, reason: FailureReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive: where its bytes lie as they are, if they do; or why it cannot be used.

    What is lost of a damaged archive is a Member too, named ``ARCHIVE#BYTE`` after the place where the damage begins.
    """

    name: str
    offset: int | None = None
    n_bytes: int | None = None
    reason: FailureReason | None = None
    detail: str = ""


def row_for(member: Member, archive: Path) -> dict[str, object]:
    """What a source's row says of a member: archive, member, offset, n_bytes, bad, reason."""
    return {
        "archive": str(archive),
        "member": member.name,
        "offset": member.offset,
        "n_bytes": member.n_bytes,
        "bad": f"{archive.name}, {member.name}: {member.detail or member.reason}" if member.reason else None,
        "reason": member.reason,
    }


def lost(archive: Path, position: int, detail: str) -> Member:
    """Stands for what an archive no longer tells from this byte on."""
    return Member(f"{archive.name}#{position}", None, None, FailureReason.TRUNCATED, f"byte {position:,}: {detail}")


def missing(name: str) -> Member:
    """Stands for a member that an archive does not have."""
    _, unsafe, why = checked(name)
    return Member(name, None, None, unsafe or FailureReason.MISSING_MEMBER, why or "not in the archive")


class Namer:
    """Gives the files of one archive their names: none hidden, none unsafe, none twice.

    Names are POSIX paths within the archive, without ``./``. A name that cannot be used is shown with its odd characters
    escaped or replaced, so that what is listed can be stored and printed. ``on_disk``: names that the file system gave, which
    lead nowhere else and may hold a backslash or a colon.
    """

    def __init__(self, *, on_disk: bool = False) -> None:
        self._seen: set[str] = set()
        self._on_disk = on_disk

    def member(
        self,
        raw: str,
        offset: int | None = None,
        n_bytes: int | None = None,
        reason: FailureReason | None = None,
        detail: str = "",
    ) -> Member | None:
        """The member under its name, or None where it is hidden (``.name``, ``__MACOSX``)."""
        name, unsafe, why = checked(raw, on_disk=self._on_disk)
        if unsafe is not None:
            reason, detail = unsafe, why
        elif _HIDDEN.search(name):
            return None
        if name in self._seen:
            reason, detail = FailureReason.BAD_ROW, f"a second member under the name {name}: the first one is taken"
            number = 2
            while f"{name}#{number}" in self._seen:
                number += 1
            name = f"{name}#{number}"
        self._seen.add(name)
        if reason is not None:
            return Member(name, None, n_bytes, reason, detail)
        return Member(name, offset, n_bytes)


def checked(raw: str, *, on_disk: bool = False) -> tuple[str, FailureReason | None, str]:
    """(name to show, why it cannot be used, in words). A backslash separates as a slash does when it is asked what climbs out."""
    if not (raw.isascii() and raw.isprintable()):
        if _SURROGATE.search(raw):
            shown = raw.encode("utf-8", "replace").decode("utf-8")
            return _escaped(shown), FailureReason.BAD_ROW, "the name is not UTF-8: rename the file"
        if _CONTROL.search(raw):
            return _escaped(raw), FailureReason.BAD_ROW, "a control character in the name: rename the file"
    if on_disk:
        return raw, None, ""
    slashed = raw.replace("\\", "/")
    if slashed.startswith("/") or _DRIVE.match(slashed) or (".." in slashed and ".." in slashed.split("/")):
        return raw, FailureReason.UNSAFE_MEMBER, "the path leads out of the archive"
    if raw.startswith("./") or "//" in raw or "/./" in raw:
        raw = str(PurePosixPath(raw))
    if raw in ("", "."):
        return "(no name)", FailureReason.BAD_ROW, "no name"
    return raw, None, ""


def _escaped(name: str) -> str:
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", name)
