"""A disk that is really full: one line that says so, nothing lost, nothing half-written, and the rerun ends the work.

The disk is a small tmpfs in a mount namespace of its own. Where the system allows no namespace, a limit on the size of
files stands in for it: writes are then refused in the same places.
"""

import functools
import resource
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
from PIL import Image

from captionlake.lake import Lake
from captionlake.lake.ingest import ingest
from captionlake.lake.ingest_config import IngestConfig

from .killed import IMAGES, nothing_staged, sound
from .lake.image_server import ImageServer

SHARDS_OF_20 = (
    "import captionlake.lake.ingest_job as i; i.PICTURES_PER_SHARD = 20; import captionlake.cli as c; c.main()"
)
SIZE = 20  # MiB


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    status: int
    stdout: str
    stderr: str


class Disk(Protocol):
    """A small disk: ``path`` as commands see it, ``outside`` as this process does."""

    path: Path
    outside: Path

    def captionlake(self, *arguments: object) -> Ended: ...

    def fill(self, free: int) -> None:
        """Leave this many KiB."""

    def make_room(self) -> None: ...

    def close(self) -> None: ...


class Tmpfs:
    """A tmpfs in a namespace that a shell holds; its files are seen through ``/proc``."""

    def __init__(self, folder: Path, unshare: list[str]) -> None:
        self.path = folder
        self._shell = subprocess.Popen([*unshare, "sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.outside = Path(f"/proc/{self._shell.pid}/root{folder}")
        self._said = folder.with_name("said")
        self._ask("mount", "-t", "tmpfs", "-o", f"size={SIZE}m", "tmpfs", folder)

    def _ask(self, *command: object) -> int:
        assert self._shell.stdin is not None and self._shell.stdout is not None
        quoted = shlex.join(map(str, command))
        self._shell.stdin.write(f"{quoted} </dev/null >{self._said}.out 2>{self._said}.err; echo $?\n")
        self._shell.stdin.flush()
        return int(self._shell.stdout.readline())

    def captionlake(self, *arguments: object) -> Ended:
        status = self._ask(sys.executable, "-c", SHARDS_OF_20, *arguments)
        return Ended(status, *(Path(f"{self._said}.{name}").read_text() for name in ("out", "err")))

    def fill(self, free: int) -> None:
        assert self._ask("sh", "-c", f"cat /dev/zero > {self.path}/filler") != 0  # No space left on device
        with (self.outside / "filler").open("rb+") as file:
            file.truncate(file.seek(0, 2) - free * 1024)

    def make_room(self) -> None:
        (self.outside / "filler").unlink(missing_ok=True)
        assert self._ask("mount", "-o", "remount,size=200m", self.path) == 0

    def close(self) -> None:
        self._shell.communicate()


class Limited:
    """A limit on the size of each file."""

    def __init__(self, folder: Path) -> None:
        self.path = self.outside = folder
        self._limit: int | None = SIZE * 2**20 // 6

    def captionlake(self, *arguments: object) -> Ended:
        def limit() -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            if self._limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (self._limit, self._limit))

        command = [sys.executable, "-c", SHARDS_OF_20, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit)
        return Ended(done.returncode, done.stdout, done.stderr)

    def fill(self, free: int) -> None:
        self._limit = min(free, 5000) * 1024

    def make_room(self) -> None:
        self._limit = None

    def close(self) -> None: ...


@functools.cache
def unshare() -> list[str] | None:
    """The command that makes a namespace in which a tmpfs can be mounted, or None where there is none."""
    for command in (["unshare", "-m"], ["unshare", "-rm"]):
        try:
            done = subprocess.run([*command, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True)
        except OSError:
            return None
        if done.returncode == 0:
            return command
    return None


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    (tmp_path / "disk").mkdir()
    command = unshare()
    made: Disk = Tmpfs(tmp_path / "disk", command) if command else Limited(tmp_path / "disk")
    yield made
    made.close()


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty pictures of noise of 360 kB each, which no disk of 20 MiB holds beside a lake and a shard in the making."""
    folder = tmp_path_factory.mktemp("noise")
    numbers = np.random.default_rng(0)
    for n in range(60):
        Image.fromarray(numbers.integers(0, 256, (400, 300, 3), dtype=np.uint8)).save(
            folder / f"{n:02d}.png", compress_level=1
        )
    return folder


@pytest.fixture(scope="session")
def filled_lake(
    empty_lake: Path, tmp_path_factory: pytest.TempPathFactory, tiles: Callable[[int], list[bytes]]
) -> Path:
    """A lake of fifty small pictures."""
    folder = tmp_path_factory.mktemp("filled")
    shutil.copytree(empty_lake, folder / "lake")
    (folder / "tiles").mkdir()
    for number, data in enumerate(tiles(50)):
        (folder / "tiles" / f"{number}.jpg").write_bytes(data)
    with Lake.open(folder / "lake") as lake:
        ingest(lake, IngestConfig(source="folder", inputs=[str(folder / "tiles")]))
    return folder / "lake"


def told_once(ended: Ended) -> None:
    """Exit status 1 and one line: what, and what to do."""
    assert ended.status == 1, ended
    assert ended.stdout == ""
    assert ended.stderr.startswith("error: ") and ended.stderr.count("\n") == 1, ended.stderr
    assert "make room" in ended.stderr or "free some" in ended.stderr, ended.stderr


def whole_shards(lake: Path) -> None:
    """Each file in ``images/`` is named by rows, but for the empty first one."""
    with Lake.open(lake) as opened:
        named = {name for (name,) in opened.rows("SELECT DISTINCT shard FROM images")}
    assert {path.name for path in (lake / "images").iterdir()} - {"shard-000000.parquet"} == named


def rows(lake: Path) -> list[tuple[object, ...]]:
    with Lake.open(lake) as opened:
        return opened.rows(IMAGES)


def test_an_ingest_that_does_not_fit(disk: Disk, noise: Path, filled_lake: Path) -> None:
    lake = disk.path / "lake"
    shutil.copytree(filled_lake, disk.outside / "lake")
    before = rows(disk.outside / "lake")
    command = ("ingest", "folder", noise, "--collection", "noise", "--lake", lake)
    told_once(disk.captionlake(*command))
    sound(disk.outside / "lake")
    after = rows(disk.outside / "lake")
    assert [row for row in after if row in before] == before
    assert isinstance(disk, Limited) or len(after) == len(before) + 40, "two shards fit, the third does not"
    assert nothing_staged(disk.outside / "lake")
    whole_shards(disk.outside / "lake")
    disk.make_room()
    assert disk.captionlake(*command).status == 0
    sound(disk.outside / "lake")
    assert len(rows(disk.outside / "lake")) == len(before) + 60


@pytest.mark.parametrize("free", [40, 400, 7500])
def test_wherever_the_disk_becomes_full(disk: Disk, noise: Path, filled_lake: Path, free: int) -> None:
    """Too little for the first transaction, for a shard, for the second shard."""
    lake = disk.path / "lake"
    shutil.copytree(filled_lake, disk.outside / "lake")
    before = rows(disk.outside / "lake")
    disk.fill(free)
    command = ("ingest", "folder", noise, "--collection", "noise", "--lake", lake)
    told_once(disk.captionlake(*command))
    disk.make_room()
    sound(disk.outside / "lake")
    assert [row for row in rows(disk.outside / "lake") if row in before] == before
    assert nothing_staged(disk.outside / "lake")
    whole_shards(disk.outside / "lake")
    assert disk.captionlake(*command).status == 0
    sound(disk.outside / "lake")
    assert len(rows(disk.outside / "lake")) == len(before) + 60


def test_a_list_that_does_not_fit(disk: Disk, tmp_path: Path, empty_lake: Path) -> None:
    """Before anything is fetched, the list itself is laid on the disk."""
    lake = disk.path / "lake"
    numbers = np.random.default_rng(0)
    (tmp_path / "list.csv").write_text("url,name\n" + "".join(f",{numbers.bytes(40).hex()}\n" for _ in range(40_000)))
    shutil.copytree(empty_lake, disk.outside / "lake")
    disk.fill(700)
    told_once(disk.captionlake("ingest", "web", tmp_path / "list.csv", "--lake", lake))
    disk.make_room()
    sound(disk.outside / "lake")
    assert disk.captionlake("ingest", "web", tmp_path / "list.csv", "--limit", 30, "--lake", lake).status == 0
    with Lake.open(disk.outside / "lake") as opened:
        assert opened.value("SELECT count(*) FROM fetch_failures WHERE reason = 'bad_row'") == 30


def test_a_download_that_does_not_fit(disk: Disk, tmp_path: Path, noise: Path, empty_lake: Path) -> None:
    """No picture is noted as failed because the disk was full: it is fetched once there is room."""
    lake = disk.path / "lake"
    with ImageServer() as server:
        urls = [server.add(f"/{path.name}", path.read_bytes(), "image/png") for path in sorted(noise.iterdir())]
        (tmp_path / "list.csv").write_text("url\n" + "\n".join(urls))
        command = ("ingest", "web", tmp_path / "list.csv", "--allow-private-hosts", "--lake", lake)
        shutil.copytree(empty_lake, disk.outside / "lake")
        disk.fill(5000)
        told_once(disk.captionlake(*command))
        disk.make_room()
        sound(disk.outside / "lake")
        assert nothing_staged(disk.outside / "lake")
        with Lake.open(disk.outside / "lake") as opened:
            assert opened.value("SELECT count(*) FROM fetch_failures") == 0
        assert disk.captionlake(*command).status == 0
    sound(disk.outside / "lake")
    assert len(rows(disk.outside / "lake")) == 60
