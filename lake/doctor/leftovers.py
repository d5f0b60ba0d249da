"""What ended processes left in ``staging/`` and ``spool/``."""

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

from captionlake.lake.doctor.finding import Finding, command, note, ok, problem, size
from captionlake.lake.freed import Freed
from captionlake.lake.lake import Lake


def staging(lake: Lake) -> Iterator[Finding]:
    """Folders of processes that are no more."""
    root, gc = lake.path / "staging", command("captionlake", "release", "gc", "--lake", lake.path)
    left, at_work = [], 0
    for lock in sorted(root.glob("*.lock")):
        if _is_held(lock):
            at_work += 1
        else:
            left.append(lock.with_suffix(""))
    if left:
        freed = Freed.of(left)
        yield note("staging", f"{freed.files:,} folders of processes that were killed, {size(freed.n_bytes)}", root, gc)
    else:
        yield ok("staging", f"{at_work:,} processes at work, nothing left of others", root)


def spool(lake: Lake) -> Iterator[Finding]:
    """Replies that were paid for: all of them are in the lake, or some wait to be taken in."""
    folder, found = lake.path / "spool", False
    for path in sorted(folder.glob("*.jsonl")) if folder.is_dir() else []:
        replies = dict(_replies(path))
        missing = _missing(lake, list(replies))
        if _is_held(path.with_name(f"{path.stem.rpartition('-')[0]}.lock")):
            continue  # a run is at it
        if missing:
            found = True
            who = ", ".join(sorted({replies[one] for one in missing}))
            what = f"{len(missing):,} replies of {who} are paid for and not in the lake"
            mend = f"captionlake caption RECIPE  (whose captioner is {who})"
            yield problem("spool", what, path, mend)
        elif replies:
            found = True
            mend = command("captionlake", "release", "gc", "--lake", lake.path)
            yield note("spool", f"{len(replies):,} replies that are in the lake", path, mend)
    if not found:
        yield ok("spool", "no replies wait", folder)


def _replies(path: Path) -> Iterator[tuple[str, str]]:
    """(caption_id, producer) of each whole line; other lines, as of batches that are on their way, are none."""
    try:
        raw = path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return
    for line in raw:
        try:
            reply = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            continue
        if isinstance(reply, dict) and "caption_id" in reply and "text" in reply:
            yield str(reply["caption_id"]), str(reply.get("producer", "?"))


def _missing(lake: Lake, ids: list[str]) -> list[str]:
    query = "SELECT caption_id FROM (SELECT unnest(?::VARCHAR[]) AS caption_id) ANTI JOIN captions USING (caption_id)"
    return [one for (one,) in lake.rows(query, [ids])] if ids else []


def _is_held(path: Path) -> bool:
    """Whether a process has a lock on a file; for a moment it is this one, shared."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
