"""Pictures by URL: real img2dataset processes, a real server, real kills."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from captionlake.errors import CaptionlakeError
from captionlake.lake.download import Fetched, _read, download
from captionlake.lake.fetcher import MAX_WAITING
from captionlake.lake.guard import FetchPolicy
from captionlake.lake.reasons import FailureReason

from .image_server import ImageServer, jpeg, wait_until

POLICY = FetchPolicy(
    allow_private_hosts=True, processes=2, threads=8, timeout=2, total_timeout=4, max_bytes=1_000_000, retries=1
)


@pytest.fixture
def server() -> Iterator[ImageServer]:
    with ImageServer() as running:
        yield running


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def requests(folder: Path, *files: Sequence[str | None]) -> Path:
    """A folder of requests, one Parquet file for each list; rows are numbered from 1000 on."""
    (folder / "requests").mkdir()
    number = 1000
    for i, urls in enumerate(files):
        ids = pa.array(range(number, number + len(urls)), pa.int64())
        pq.write_table(
            pa.table({"row_id": ids, "url": pa.array(urls, pa.string())}), folder / f"requests/{i:04d}.parquet"
        )
        number += len(urls)
    return folder / "requests"


def fetchers() -> list[psutil.Process]:
    """Downloading processes of this test run that are alive: they name their configuration, or descend from one."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = " ".join(process.info["cmdline"] or [])
        if "captionlake.lake.fetcher" in line and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def group_of(work: Path) -> int:
    """The process group of the downloader that works in this folder."""
    assert wait_until(lambda: any(str(work) in " ".join(p.cmdline()) for p in fetchers()))
    return next(os.getpgid(p.pid) for p in fetchers() if str(work) in " ".join(p.cmdline()))


def members(group: int) -> list[int]:
    """Living processes of a group, without multiprocessing's tracker, which ends by itself when the others are gone."""
    alive = []
    for process in psutil.process_iter(["cmdline", "status"]):
        try:
            ours = os.getpgid(process.pid) == group
        except ProcessLookupError:
            continue
        if ours and process.info["status"] != psutil.STATUS_ZOMBIE:
            alive.append(process.pid)
    return alive


def test_every_row_comes_out_once_with_its_bytes_or_its_reason(server: ImageServer, tmp_path: Path, work: Path) -> None:
    good = [server.url(f"/image/{i}") for i in range(30)]
    bad = {
        server.url("/nothing"): "not_found",
        server.url("/status/403"): "forbidden",
        server.url("/patience/99", "localhost"): "rate_limited",  # a host of its own: all of it waits
        server.url("/status/503"): "server_error",
        server.url("/drip"): "timeout",
        server.url("/hang-up/9"): "connection",
        server.url("/endless"): "too_large",
        server.url("/huge"): "too_large",
        server.url("/short"): "truncated",
        server.url("/loop"): "redirect_loop",
        server.url("/to?url=file:///etc/passwd"): "blocked_scheme",
        server.url("/robots/noai"): "opted_out",
        server.url("/robots/captionlake:noimageai"): "opted_out",
        "file:///etc/passwd": "blocked_scheme",
        "http://user:secret@127.0.0.1/": "bad_url",
        "no address": "bad_url",
    }
    kept = {
        server.url("/limited/1"): jpeg(0),
        server.url("/robots/nofollow"): jpeg(0),
        server.url("/robots/otherbot:noai"): jpeg(0),
        server.url("/page"): b"<!DOCTYPE html><html><body>no picture</body></html>",  # for the decode check to refuse
        server.url("/empty"): b"",
    }
    first, second = [*good[:15], *bad], [*good[15:], *kept, None]
    batches = list(download(requests(tmp_path, first, second), work, POLICY, shard_size=10))
    assert [len(batch) for batch in batches if len(batch) != 10] == [1, 1]  # the ends of the two files
    came = {item.row_id: item for batch in batches for item in batch}
    assert sorted(came) == list(range(1000, 1000 + len(first) + len(second)))
    assert sum(map(len, batches)) == len(came)
    by_url = dict(zip([*first, *second], (came[i] for i in sorted(came)), strict=True))
    for i, url in enumerate(good):
        assert by_url[url] == Fetched(by_url[url].row_id, jpeg(i), None, "", '{"robots": "absent"}')
    assert {url: str(by_url[url].reason) for url in bad} == bad
    assert {url: by_url[url].data for url in kept} == kept
    tagged = {url: json.loads(by_url[url].verdict or "{}").get("x_robots_tag") for url in kept}
    assert {tag for tag in tagged.values() if tag} == {"nofollow", "otherbot:noai"}
    assert by_url[server.url("/robots/noai")].detail == "X-Robots-Tag: noai"
    assert by_url[None].reason == FailureReason.BAD_URL
    assert not any("\n" in item.detail or "secret" in item.detail for item in came.values())
    assert {server.requests[f"/image/{i}"] for i in range(30)} == {1}
    assert (server.requests["/limited/1"], server.requests["/status/503"], server.requests["/nothing"]) == (2, 2, 1)
    assert not (work / "shards").exists()
    assert not (work / "limits").exists()


def test_with_the_guard_up_nothing_on_this_machine_is_touched(server: ImageServer, tmp_path: Path, work: Path) -> None:
    hosts = ["127.0.0.1", "localhost", "2130706433", "0177.0.0.1", "[::1]", "[::ffff:7f00:1]", "0.0.0.0", "127.1"]
    urls = [server.url("/image/1", host) for host in hosts]
    policy = FetchPolicy(processes=1, threads=4)
    (batch,) = download(requests(tmp_path, urls), work, policy)
    assert {item.reason for item in batch} == {FailureReason.BLOCKED_ADDRESS}
    assert len(batch) == len(hosts)
    assert server.connections == 0


def test_a_download_holds_while_the_consumer_is_busy(server: ImageServer, tmp_path: Path, work: Path) -> None:
    urls = [server.url(f"/slow/0.15?{i}") for i in range(140)]
    batches = download(requests(tmp_path, urls), work, POLICY, shard_size=10)
    rows = next(batches)
    seen = [0]

    def still() -> bool:
        before, seen[0] = seen[0], server.requests.total()
        time.sleep(1)
        return before > 0 and before == server.requests.total()

    assert wait_until(still, 20)
    # The shard that was taken, those that wait, and for each process one that was begun and one between two looks.
    assert server.requests["/slow/0.15"] <= (1 + MAX_WAITING + 2 * POLICY.processes) * 10 < len(urls)
    rows += [item for batch in batches for item in batch]
    assert Counter(item.reason for item in rows) == {None: len(urls)}


def test_closing_the_generator_ends_the_download(server: ImageServer, tmp_path: Path, work: Path) -> None:
    urls = [server.url("/image/1")] * 5 + [server.url("/slow/3")] * 50
    batches = download(requests(tmp_path, urls), work, POLICY, shard_size=5)
    assert len(next(batches)) == 5
    group = group_of(work)
    assert len(members(group)) >= 3  # itself and its workers
    batches.close()  # type: ignore[attr-defined]
    assert wait_until(lambda: not members(group))
    assert not (work / "shards").exists()


def test_nothing_outlives_a_parent_that_is_killed(server: ImageServer, tmp_path: Path, work: Path) -> None:
    folder = requests(tmp_path, [server.url("/slow/3")] * 60)
    program = f"""
        from pathlib import Path
        from captionlake.lake.download import download
        from captionlake.lake.guard import FetchPolicy
        policy = FetchPolicy(allow_private_hosts=True, processes=2, threads=4)
        list(download(Path({str(folder)!r}), Path({str(work)!r}), policy, shard_size=10))
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)])
    group = group_of(work)
    assert wait_until(lambda: server.connections >= 8)  # both workers are at it
    assert len(members(group)) >= 3
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert wait_until(lambda: not members(group), 5)
    asked = server.connections
    time.sleep(0.5)
    assert server.connections == asked


@pytest.mark.parametrize("whole", [False, True], ids=["worker", "leader"])
def test_a_killed_process_of_the_download_is_an_error(
    server: ImageServer, tmp_path: Path, work: Path, whole: bool
) -> None:
    urls = [server.url("/image/1")] * 5 + [server.url("/slow/1")] * 200
    batches = download(requests(tmp_path, urls), work, POLICY, shard_size=5)
    next(batches)
    leader = group_of(work)
    workers = [p for p in psutil.Process(leader).children() if "spawn_main" in " ".join(p.cmdline())]
    os.kill(leader if whole else workers[0].pid, signal.SIGKILL)
    with pytest.raises(CaptionlakeError, match="the download stopped") as caught:
        for _ in batches:
            pass
    assert ("was killed" if whole else "status -9") in str(caught.value)
    assert wait_until(lambda: not members(leader))


def test_a_shard_that_img2dataset_cannot_write_is_lost_row_by_row(
    server: ImageServer, tmp_path: Path, work: Path
) -> None:
    (work / "shards" / "00001.parquet").mkdir(parents=True)  # where the second shard would go
    urls = [server.url(f"/image/{i}") for i in range(25)]
    batches = list(download(requests(tmp_path, urls), work, POLICY, shard_size=10))
    lost = batches[-1]
    assert sorted(item.row_id for item in lost) == list(range(1010, 1020))
    assert {item.reason for item in lost} == {FailureReason.CONNECTION}
    assert all("lost the whole shard" in item.detail and "directory" in item.detail for item in lost)
    assert sum(item.data is not None for batch in batches[:-1] for item in batch) == 15


def test_rows_missing_from_a_shard_come_as_failures(tmp_path: Path) -> None:
    file = tmp_path / "00000.parquet"
    columns = {"row_id": [2, 1], "error_message": [None, "not_found|HTTP 404"], "jpg": [b"x", None]}
    pq.write_table(
        pa.table(columns, pa.schema([("row_id", "int64"), ("error_message", "string"), ("jpg", "binary")])), file
    )
    (batch,) = _read(file, [1, 2, 3])
    assert [(item.row_id, item.data, item.reason) for item in batch] == [
        (2, b"x", None),
        (1, None, FailureReason.NOT_FOUND),
        (3, None, FailureReason.CONNECTION),
    ]
    file.write_bytes(file.read_bytes()[:40])
    (batch,) = _read(file, [1, 2])
    assert {(item.row_id, item.reason) for item in batch} == {(1, "connection"), (2, "connection")}


def test_no_requests_start_nothing(tmp_path: Path, work: Path) -> None:
    assert list(download(requests(tmp_path), work, POLICY)) == []
    assert list(work.iterdir()) == []


def test_errors_that_a_user_can_mend(tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = tmp_path / "a[b]"
    odd.mkdir()
    with pytest.raises(CaptionlakeError, match=r"a\[b\]"):
        download(requests(tmp_path, ["http://x/"]), odd, POLICY)
    monkeypatch.setitem(sys.modules, "img2dataset", None)
    with pytest.raises(CaptionlakeError, match=r"pip install 'captionlake\[download\]'"):
        download(tmp_path / "requests", work, POLICY)
