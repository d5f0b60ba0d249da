"""Read-only SQL: the query in a child process under limits of time and memory, its result back as Arrow batches.

What a query may be is decided by ``captionlake.lake.gate``; this holds what an allowed query can cost. A child that outlives its
deadline is killed, as an interrupt alone leaves DuckDB running for seconds.
"""

import json
import logging
import math
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from captionlake.errors import CaptionlakeError
from captionlake.lake.options import printable
from captionlake.lake.place import catalog_of, has_catalog
from captionlake.lake.staging import staging_folder

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

# What the child is given of the environment: enough to find its packages, no key and no proxy.
_ENVIRONMENT = frozenset(
    {"PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "TMPDIR"}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryLimits:
    """What one query may cost. Sizes in MiB."""

    seconds: float = 60.0
    memory_mib: int = 2048  # DuckDB's buffers; the process as a whole may have 1 GiB more
    temp_mib: int = 8192  # what DuckDB may spill to disk
    result_mib: int = 8192
    threads: int = field(default_factory=lambda: min(4, os.cpu_count() or 1))

    def __post_init__(self) -> None:
        if not (math.isfinite(self.seconds) and self.seconds > 0):
            raise CaptionlakeError(f"a deadline of {self.seconds} s: give a number of seconds above 0")
        if min(self.memory_mib, self.temp_mib, self.result_mib, self.threads) < 1:
            raise CaptionlakeError("a limit of a query is below 1: give sizes in MiB and threads from 1")


class QueryResult:
    """A finished query's rows, in a file that lives as long as ``open_query``'s ``with``."""

    def __init__(self, path: Path, rows: int, more: bool) -> None:
        self._path = path
        self.rows = rows
        self.more = more  # the query had further rows, past max_rows

    def reader(self) -> "pa.RecordBatchReader":
        """The rows as Arrow batches, mapped from the file and not copied into memory."""
        import pyarrow as pa

        return pa.ipc.open_stream(pa.memory_map(str(self._path)))


def run_query(
    lake: Path, query: str, *, release: str | None = None, at: int | None = None, limits: QueryLimits | None = None
) -> "pa.Table":
    """The whole result of a read-only query. Its pages stay on disk until they are touched."""
    with open_query(lake, query, release=release, at=at, limits=limits) as result:
        return result.reader().read_all()


@contextmanager
def open_query(
    lake: Path,
    query: str,
    *,
    release: str | None = None,
    at: int | None = None,
    limits: QueryLimits | None = None,
    max_rows: int | None = None,
) -> Iterator[QueryResult]:
    """Run a read-only query and yield its result.

    ``release`` (NAME@VERSION) or ``at`` (a snapshot) say what the tables' names mean. Raises in one line what was refused, what failed,
    or which limit was passed.
    """
    folder = Path(lake).expanduser().absolute()
    if not has_catalog(folder):
        raise CaptionlakeError(f"no lake in {folder}: make one with  captionlake init {folder}")
    if release is not None and at is not None:
        raise CaptionlakeError("a release and a snapshot at once: give one of --release and --at")
    limits = limits or QueryLimits()
    secret = _secret(folder)
    with staging_folder(folder, "query") as staging:
        request = {
            "lake": str(folder),
            "folder": str(staging),
            "query": query,
            "release": release,
            "at": at,
            "max_rows": max_rows,
            "limits": asdict(limits) | {"process_mib": limits.memory_mib + 1024},
        }
        reply = _ask_child(request, limits.seconds, staging / "stderr.txt", secret)
        yield QueryResult(staging / "result.arrow", reply["rows"], reply["more"])


def _secret(lake: Path) -> str | None:
    """What lets DuckDB read the lake's bucket, where it has one."""
    if not (lake / "storage.json").is_file():
        return None
    from captionlake.lake.data_place import DataPlace

    bucket = DataPlace.of(lake).bucket
    return None if bucket is None else bucket.secret()


def _ask_child(request: dict[str, Any], seconds: float, errors: Path, secret: str | None) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    Path(request["folder"], "request.json").write_text(json.dumps(request), encoding="utf-8")
    passed = _ENVIRONMENT.union(_libpq() if catalog_of(Path(request["lake"])).shared else ())
    environment = {name: value for name, value in os.environ.items() if name in passed}
    environment["ARROW_DEFAULT_MEMORY_POOL"] = "system"  # so that the memory limit is met by an error, not by a crash
    with (
        errors.open("wb") as stderr,
        subprocess.Popen(
            [sys.executable, "-P", "-m", "captionlake.lake.query_child", request["folder"]],
            stdin=subprocess.PIPE,  # its end tells the child that this process is gone
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=environment,
        ) as child,
    ):
        assert child.stdout is not None and child.stdin is not None
        try:
            with suppress(BrokenPipeError):  # a child that is gone already tells why below
                child.stdin.write(json.dumps(secret).encode() + b"\n")
                child.stdin.flush()
            import pyarrow  # noqa: F401  # needed for the result: imported while the child works

            text = _read_until(child.stdout, deadline)
            if text is None:
                raise CaptionlakeError(
                    f"the query ran longer than {seconds:g} s: narrow it, or give it more time with --timeout"
                )
            child.wait()
        finally:
            child.kill()
    try:
        reply: dict[str, Any] = json.loads(text)
    except ValueError:
        log.debug("the child's stderr: %s", errors.read_text(errors="replace"))
        raise _died(child.returncode, request["limits"]) from None
    if "error" in reply:
        raise CaptionlakeError(printable(reply["error"]))
    return reply


def _libpq() -> set[str]:
    """The variables that let the child into the server of the catalog; no function that a query may call reads any."""
    return {name for name in os.environ if name.startswith("PG")}


def _read_until(pipe: IO[bytes], deadline: float) -> bytes | None:
    """All that is written to the pipe until it is closed, or None when that takes longer."""
    found = b""
    while select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
        chunk = os.read(pipe.fileno(), 65536)
        if not chunk:
            return found
        found += chunk
    return None


def _died(status: int, limits: dict[str, Any]) -> CaptionlakeError:
    if status == -signal.SIGXCPU:
        return CaptionlakeError("the query used more processor time than its deadline allows: narrow it")
    if status < 0:
        return CaptionlakeError(
            f"the query was ended by signal {-status}, most likely for want of memory "
            f"(it had {limits['memory_mib']:,} MiB): narrow it, or take it in parts"
        )
    return CaptionlakeError(f"the query's process ended without an answer (status {status}): run this with --debug")
