"""The environment: Python and packages, DuckDB's extensions, the GPU, memory, disks, open files, the clock."""

import importlib.util
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path

from captionlake.errors import CaptionlakeError
from captionlake.lake.doctor.finding import Finding, command, note, ok, problem, size

PACKAGE = "captionlake"
_MIB, _GIB = 2**20, 2**30
_LITTLE_MEMORY, _NO_MEMORY = 4 * _GIB, 512 * _MIB  # SQL alone may take 2 GiB, see captionlake.lake.query
_LITTLE_DISK, _NO_DISK = 5 * _GIB, 200 * _MIB
_FEW_INODES = 1000
_FEW_FILES, _TOO_FEW_FILES = 1024, 256  # a reader of pictures alone keeps 64 shards open, of each thread
_NVIDIA = ("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader")


def examine_environment(needed_by: Mapping[str, str], lake: Path | None) -> Iterator[Finding]:
    """Each part. ``needed_by`` says which commands need which extra."""
    yield _python()
    yield from packages(needed_by)
    yield from extensions(postgres=lake is not None and (lake / "catalog.json").exists())
    yield _gpu()
    yield memory()
    yield from disks(lake)
    yield open_files()
    yield clock(Path(__file__).stat().st_mtime, "captionlake's own files")


def _python() -> Finding:
    from packaging.specifiers import SpecifierSet

    wanted, here = metadata(PACKAGE)["Requires-Python"], platform.python_version()
    if not SpecifierSet(wanted).contains(here, prereleases=True):
        return problem(
            "python", f"Python {here}, and captionlake needs {wanted}", sys.executable, "python3.12 -m venv .venv"
        )
    return ok("python", f"Python {here}", sys.executable)


def packages(needed_by: Mapping[str, str]) -> Iterator[Finding]:
    """What captionlake needs always, and each extra with the commands that need it."""
    if wrong := _wanting(None):
        mend = command("pip", "install", f"{PACKAGE}=={version(PACKAGE)}")
        yield problem("packages", "; ".join(wrong), sys.prefix, mend)
    else:
        yield ok("packages", f"captionlake {version(PACKAGE)} and all that it needs always", sys.prefix)
    for extra, commands in needed_by.items():
        if wrong := _wanting(extra):
            mend = command("pip", "install", f"{PACKAGE}[{extra}]")
            yield note(f"extra {extra}", f"{'; '.join(wrong)}; needed by: {commands}", sys.prefix, mend)
        else:
            yield ok(f"extra {extra}", f"installed; needed by: {commands}")


def _wanting(extra: str | None, seen: frozenset[str] = frozenset()) -> list[str]:
    """What is not there of an extra, or of what is needed without any, or has a version that is not taken."""
    from packaging.requirements import Requirement

    found: list[str] = []
    for text in requires(PACKAGE) or []:
        one = Requirement(text)
        if (one.marker is None) != (extra is None) or (one.marker and not one.marker.evaluate({"extra": extra or ""})):
            continue
        if one.name == PACKAGE:
            for other in one.extras - seen:
                found += _wanting(other, seen | {other})
            continue
        try:
            here = version(one.name)
        except PackageNotFoundError:
            found.append(f"{one.name} is not installed")
        else:
            if not one.specifier.contains(here, prereleases=True):
                found.append(f"{one.name} {here} is installed, and {one.specifier} is needed")
    return found


def extensions(*, postgres: bool) -> Iterator[Finding]:
    """DuckDB's extensions: each is there for the very version of DuckDB, and loads from its file, without a network."""
    import duckdb

    from captionlake.lake.catalog import extension_path, first_line, quote

    names = ["ducklake", "sqlite_scanner", *(["postgres_scanner"] if postgres else [])]
    off = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
    with duckdb.connect(config={**off}) as connection:
        for name in names:
            package = f"duckdb-extension-{name.replace('_', '-')}"
            try:
                path = extension_path(name)
                connection.execute(f"LOAD {quote(str(path))}")
            except CaptionlakeError as error:
                what, _, mend = str(error).partition(": run  ")
                yield problem("duckdb", what, package, mend)
            except duckdb.Error as error:
                mend = command("pip", "install", "--force-reinstall", f"{package}=={duckdb.__version__}")
                yield problem("duckdb", f"extension {name} does not load ({first_line(error)})", path, mend)
            else:
                yield ok("duckdb", f"duckdb {duckdb.__version__} loads its extension {name} {version(package)}", path)


def _gpu() -> Finding:
    """By the driver's own program and torch's files: to load torch takes seconds."""
    gpus = _lines(_NVIDIA, 3.0)
    seen = f"GPU: {'; '.join(gpus)}" if gpus else "no NVIDIA GPU"
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return ok("torch", f"not installed (see the extras); {seen}")
    text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    cuda = re.search(r"^cuda\b.*= *'([0-9.]+)'", text, re.MULTILINE)
    built = f"torch {version('torch')}, built for {f'CUDA {cuda[1]}' if cuda else 'processors'}"
    if gpus and not cuda:
        return note(
            "torch",
            f"{built}, cannot use the {seen}",
            spec.origin,
            command("pip", "install", "--force-reinstall", "torch"),
        )
    return ok("torch", f"{built}; {seen}", spec.origin)


def _lines(program: tuple[str, ...], seconds: float) -> list[str]:
    """What a program prints; nothing where it is not there or fails."""
    try:
        done = subprocess.run(program, capture_output=True, text=True, timeout=seconds, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()] if done.returncode == 0 else []


def memory() -> Finding:
    """What may be taken now, within the limit of a container too."""
    free = _free_memory()
    told = f"{size(free)} of memory free"
    if free < _NO_MEMORY:
        return problem(
            "memory", f"{told}: commands will be ended by the system", "", "ps --sort -rss -eo pid,rss,args | head"
        )
    if free < _LITTLE_MEMORY:
        return note("memory", f"{told}: large queries and trainings may be ended by the system", "", "free -h")
    return ok("memory", told)


def _free_memory() -> int:
    try:
        told = re.search(r"MemAvailable: *(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"))
    except OSError:
        told = None
    free = int(told[1]) * 1024 if told else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        group = Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text(encoding="ascii").strip()
        used = int((group / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return free
    return min(free, max(0, int(limit) - used)) if limit.isdigit() else free


def disks(lake: Path | None) -> Iterator[Finding]:
    """Room where the lake lies, and where temporary files go."""
    temporary = Path(tempfile.gettempdir())
    yield _disk("temporary disk", temporary, "export TMPDIR=/a/folder/with/room")
    if lake is not None and lake.is_dir():
        yield _disk("lake's disk", lake, command("captionlake", "release", "gc", "--lake", lake))


def _disk(check: str, folder: Path, mend: str) -> Finding:
    free, names = shutil.disk_usage(folder).free, os.statvfs(folder)
    told = f"{size(free)} free"
    if not os.access(folder, os.W_OK | os.X_OK):
        return problem(check, "you may not write here", folder, command("chmod", "u+rwx", folder))
    if names.f_files and names.f_favail < _FEW_INODES:
        return problem(check, f"room for {names.f_favail:,} files more", folder, mend)
    if free < _NO_DISK:
        return problem(check, told, folder, mend)
    return note(check, told, folder, mend) if free < _LITTLE_DISK else ok(check, told, folder)


def open_files() -> Finding:
    """How many files one process may have open."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    told = "any number of files" if now == resource.RLIM_INFINITY else f"{now:,} files"
    mend = f"ulimit -n {4096 if most == resource.RLIM_INFINITY else min(4096, most)}"
    if now != resource.RLIM_INFINITY and now < _TOO_FEW_FILES:
        return problem("open files", f"a process may open {told}, which readers of pictures use up", "ulimit -n", mend)
    if now != resource.RLIM_INFINITY and now < _FEW_FILES:
        return note("open files", f"a process may open {told}", "ulimit -n", mend)
    return ok("open files", f"a process may open {told}", "ulimit -n")


def clock(known: float, what: str) -> Finding:
    """The clock is not before a moment that is past for certain. Ages of files and snapshots decide what is tidied."""
    behind = known - time.time()
    now = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    if behind > 60:
        return problem(
            "clock",
            f"it is {now} by the clock, {behind / 3600:,.1f} hours before {what}",
            "",
            "timedatectl set-ntp true",
        )
    return ok("clock", now)
