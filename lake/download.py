"""Pictures by URL: img2dataset in a process group of its own, its shards handed over as they become whole."""

import dataclasses
import errno
import functools
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from captionlake.errors import CaptionlakeError, require
from captionlake.lake.fetch_cluster import Fetchers
from captionlake.lake.fetch_errors import one_line
from captionlake.lake.fetcher import DISTRIBUTOR_VARIABLE, HOLD_VARIABLE
from captionlake.lake.guard import LIMITS_VARIABLE, POLICY_VARIABLE, FetchPolicy
from captionlake.lake.guarded_downloads import limits_folder
from captionlake.lake.reasons import FailureReason
from captionlake.lake.rights import unframe

BATCH_BYTES = 512_000_000  # a shard with more bytes than this is handed over in parts
POLL = 0.05  # seconds between two looks for whole shards
PATIENCE = 5.0  # seconds in which a downloader that was told to end must be gone
_PROGRESS = re.compile(r"\d+it \[")  # a progress bar's line
_REASONS = frozenset(FailureReason)


@dataclass(frozen=True, slots=True)
class Fetched:
    """A requested row with its picture's bytes, not looked at yet, or with the reason why there are none.

    ``verdict`` is what the host says of the use of a picture that came: ``rights.Verdict`` as JSON.
    """

    row_id: int
    data: bytes | None
    reason: FailureReason | None
    detail: str
    verdict: str | None = None


def download(
    requests: Path, work: Path, policy: FetchPolicy, *, shard_size: int = 1000, fetchers: Fetchers | None = None
) -> Iterator[list[Fetched]]:
    """Fetch every row of ``requests``: a folder of Parquet files with ``row_id`` (int64, unique) and ``url`` (string).

    Yields what came of a shard of ``shard_size`` rows as soon as it is whole, while the download goes on, in parts
    where its bytes are many; every row comes out once, those that img2dataset loses as failures. ``work`` is an empty
    folder on the disk of the lake: at most a few shards lie there, for the download holds while the consumer is busy.
    Closing the generator ends the download. ``fetchers``: the machines that fetch,
    which see both folders. A file of ``requests`` is read whole: keep it to 100,000 rows.
    """
    if find_spec("img2dataset") is None:
        require("img2dataset", extra="download")
    if policy.robots and find_spec("protego") is None:
        require("protego", extra="download")
    fetchers = fetchers or Fetchers()
    if fetchers.extra is not None and find_spec(fetchers.distributor) is None:
        require(fetchers.distributor, extra=fetchers.extra)
    requests, work = requests.resolve(), work.resolve()
    for folder in (requests, work):
        if re.search(r"[*?\[\]]|::|://", str(folder)):
            raise CaptionlakeError(f"img2dataset takes no folder with *, ?, [ or :: in its path: {folder}; rename it")
    return _shards(_Requests(requests, shard_size), work, policy, fetchers)


class _Requests:
    """Which rows img2dataset puts into which shard: files by name, each cut into shards from its own start."""

    def __init__(self, folder: Path, shard_size: int) -> None:
        self.folder, self.shard_size = folder, shard_size
        self._shards: list[tuple[Path, int]] = []
        for file in sorted(folder.glob("*.parquet"), key=str):
            count = math.ceil(pq.read_metadata(file).num_rows / shard_size)
            self._shards += [(file, number * shard_size) for number in range(count)]

    def __len__(self) -> int:
        return len(self._shards)

    def row_ids(self, shard: int) -> list[int]:
        file, start = self._shards[shard]
        ids: list[int] = _row_ids(file).slice(start, self.shard_size).to_pylist()
        return ids


@functools.lru_cache(maxsize=2)
def _row_ids(file: Path) -> pa.ChunkedArray:
    return pq.read_table(file, columns=["row_id"]).column("row_id")


def _shards(requests: _Requests, work: Path, policy: FetchPolicy, fetchers: Fetchers) -> Iterator[list[Fetched]]:
    if not len(requests):
        return
    missing = set(range(len(requests)))
    with _Fetcher(requests, work, policy, fetchers) as fetcher:
        running = True
        while running or fetcher.whole():
            running = fetcher.running()  # asked before looking, so that the last shards are seen
            whole = fetcher.whole()
            for shard in whole:
                if int(shard) in missing:  # a cluster may fetch one again whose node died once it was whole
                    yield from _read(fetcher.shards / f"{shard}.parquet", requests.row_ids(int(shard)))
                    missing.discard(int(shard))
                fetcher.remove(shard)
            if running and not whole:
                time.sleep(POLL)
        fetcher.check()
        for lost in sorted(missing):
            fetcher.check_disk()
            detail = f"img2dataset lost the whole shard: {fetcher.last_words()}"
            yield [Fetched(row_id, None, FailureReason.CONNECTION, detail) for row_id in requests.row_ids(lost)]


def _read(file: Path, expected: list[int]) -> Iterator[list[Fetched]]:
    """What a whole shard's file says of the expected rows. A file that cannot be read has lost them all."""
    lost = dict.fromkeys(expected)
    batch: list[Fetched] = []
    size = 0
    why = "img2dataset lost this row"
    try:
        reader = pq.ParquetFile(file)
        for group in range(reader.num_row_groups):
            table = reader.read_row_group(group, columns=["row_id", "error_message", "jpg"])
            for row_id, error, data in zip(*(table.column(i).to_pylist() for i in range(3)), strict=True):
                lost.pop(row_id, None)
                batch.append(_failed(row_id, error) if error is not None else _came(row_id, data))
                size += len(data or b"")
            if size >= BATCH_BYTES:
                yield batch
                batch, size = [], 0
    except (pa.ArrowException, OSError) as error:
        why = f"img2dataset's shard cannot be read: {error}"
    batch += [Fetched(row_id, None, FailureReason.CONNECTION, why) for row_id in lost]
    if batch:
        yield batch


def _came(row_id: int, data: bytes) -> Fetched:
    verdict, body = unframe(data)
    return Fetched(row_id, body, None, "", verdict)


def _failed(row_id: int, error: str) -> Fetched:
    reason, bar, detail = error.partition("|")
    if bar and reason in _REASONS:
        return Fetched(row_id, None, FailureReason(reason), detail)
    return Fetched(row_id, None, FailureReason.BAD_URL, one_line(error))  # urllib refuses it before the guard sees it


class _Fetcher:
    """The downloading process group, and the folder it writes to."""

    def __init__(self, requests: _Requests, work: Path, policy: FetchPolicy, fetchers: Fetchers) -> None:
        self.shards, self._log, self._limits = work / "shards", work / "fetcher.log", work / "limits"
        self._limits.mkdir(exist_ok=True)
        self._name = uuid.uuid4().hex[:16]  # of a cluster's limits, which each of its machines keeps for itself
        config, hold = work / "fetcher.json", work / "hold"
        told = {"requests": str(requests.folder), "shards": str(self.shards), "shard_size": requests.shard_size}
        told |= {"distributor": fetchers.distributor, "address": fetchers.address, "limits": self._name}
        config.write_text(json.dumps({**told, "parent": os.getpid()}))
        environment = {
            **os.environ,
            POLICY_VARIABLE: json.dumps(dataclasses.asdict(policy)),
            LIMITS_VARIABLE: str(self._limits),
            HOLD_VARIABLE: str(hold),
            DISTRIBUTOR_VARIABLE: fetchers.distributor,
            **fetchers.environment(),
            "NO_ALBUMENTATIONS_UPDATE": "1",
            "PYTHONUNBUFFERED": "1",
        }
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "captionlake.lake.fetcher", str(config)],
                stdin=subprocess.PIPE,  # held open as long as this process lives: its end is the downloader's end
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )

    def __enter__(self) -> "_Fetcher":
        return self

    def __exit__(self, *_: object) -> None:
        if self.running():
            os.killpg(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        for folder in (self.shards, self._limits, limits_folder(self._name)):
            shutil.rmtree(folder, ignore_errors=True)

    def running(self) -> bool:
        return self._process.poll() is None

    def whole(self) -> list[str]:
        """The shards that are finished and not taken yet. img2dataset writes the statistics last."""
        try:
            names = os.listdir(self.shards)
        except FileNotFoundError:
            return []
        return sorted(name.removesuffix("_stats.json") for name in names if name.endswith("_stats.json"))

    def remove(self, shard: str) -> None:
        (self.shards / f"{shard}.parquet").unlink(missing_ok=True)
        (self.shards / f"{shard}_stats.json").unlink()

    def check(self) -> None:
        if self._process.returncode:
            self._kill_rest()
            self.check_disk()
            killed = self._process.returncode == -signal.SIGKILL
            why = "its process was killed, perhaps for want of memory" if killed else self.last_words()
            raise CaptionlakeError(
                f"the download stopped: {why}; what was stored is kept, run the same command again (log: {self._log})"
            )

    def check_disk(self) -> None:
        tail = self._tail()
        if any(os.strerror(code) in tail for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)):
            raise CaptionlakeError(f"no space left on the disk of {self.shards.parent}: free some and run it again")

    def last_words(self) -> str:
        """The last line of the log that names an error, or else the last one."""
        lines = [
            line.strip() for line in re.split(r"[\r\n]+", self._tail()) if line.strip() and not _PROGRESS.search(line)
        ]
        named = [
            line for line in lines if re.match(r"(ERROR:|shard \d+ failed|[\w.]*(Error|Exception|Killed)\b)", line)
        ]
        return (named or lines or ["it said nothing"])[-1][:300]

    def _tail(self) -> str:
        with self._log.open("rb") as log:
            log.seek(max(0, self._log.stat().st_size - 100_000))
            return log.read().decode("utf-8", "replace")

    def _kill_rest(self) -> None:
        """Where the leader was killed alone, its workers may live on."""
        try:
            os.killpg(self._process.pid, signal.SIGTERM)
        except ProcessLookupError:
            return
