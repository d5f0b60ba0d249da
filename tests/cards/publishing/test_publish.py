"""Publishing against a local Hub with huggingface_hub's own client, in processes of their own: whole, with faults, killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb
import pytest

from captionlake.cards.publishing.receipts import publications
from captionlake.lake import Lake
from captionlake.lake.releases.content import ContentHash, with_texts
from captionlake.lake.releases.release import find_release

from .hub_server import Fault, File, HubServer

REPO = "someone/small"
KEY = f"datasets/{REPO}"


@pytest.fixture
def hub() -> Iterator[HubServer]:
    """A Hub without repositories."""
    with HubServer() as server:
        yield server


@pytest.fixture
def lake(plain_lake: Path, tmp_path: Path) -> Path:
    """A lake of its own with the release small@1.0.0, its hashes those of its content."""
    path = Path(shutil.copytree(plain_lake, tmp_path / "lake"))
    with Lake.open(path) as opened:
        seal(opened, "small@1.0.0")
    return path


def seal(lake: Lake, label: str) -> None:
    """Give a release written by hand the hashes that follow from its content."""
    release, content = find_release(lake, label), ContentHash()
    query = files("captionlake.lake.releases").joinpath("sql/verify_rows.sql").read_text()
    rows = lake.connection.cursor().execute(query, {"name": release.name, "version": release.version})
    found = [(position, content.add(*keys, texts)) for position, *keys, _, texts in with_texts(rows, 6)]

    def change(connection: duckdb.DuckDBPyConnection) -> None:
        key = [release.name, release.version]
        for position, digest in found:
            connection.execute(
                "UPDATE release_items SET row_sha256 = ? WHERE position = ? AND name = ? AND version = ?",
                [digest, position, *key],
            )
        connection.execute(
            "UPDATE releases SET content_sha256 = ? WHERE name = ? AND version = ?", [content.hexdigest(), *key]
        )

    lake.commit(change)


def environment(hub: HubServer, home: Path, token: str | None = "hf_writertoken0") -> dict[str, str]:
    """Of a client of the local Hub."""
    made = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    made |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    return made | ({"HF_TOKEN": token} if token else {})


def command(lake: Path, *more: str) -> list[str]:
    """The command line of a publish."""
    return [sys.executable, "-m", "captionlake", "publish", "small@1.0.0", REPO, "--lake", str(lake), "--json", *more]


def publish(hub: HubServer, lake: Path, *more: str, token: str | None = "hf_writertoken0") -> Any:
    """Its result; the error's text where it failed."""
    env = environment(hub, lake.parent / "home", token)
    done = subprocess.run(command(lake, *more), env=env, capture_output=True, text=True, timeout=120)
    assert "hf_writertoken0" not in done.stdout + done.stderr
    if done.returncode:
        assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
        return done.stderr
    return json.loads(done.stdout)


@pytest.mark.xfail(
    strict=True,
    reason="the export writes a withheld picture as a struct of nulls, which datasets refuses to decode: it must be null",
)
def test_dry_run_creates_nothing_then_publishes_once_and_loads_back(hub: HubServer, lake: Path) -> None:
    planned = publish(hub, lake, "--dry-run")
    assert planned["state"] == "dry run" and not hub.repos
    done = publish(hub, lake, "--private")
    repo = hub.repos[KEY]
    assert done["state"] == "published" and repo.private
    assert {file["path"] for file in done["files"]} == {file["path"] for file in planned["files"]}
    assert repo.branches.keys() == {"main"} and repo.tags == {"v1.0.0": done["revision"]}
    assert [commit.title for commit in repo.log("main")] == ["small 1.0.0", "initial commit"]
    with Lake.open(lake) as opened:
        (row,) = publications(opened, "small", "1.0.0")
    assert (row["repo_id"], row["revision"]) == (REPO, done["revision"])
    assert row["detail"]["tag"] == "v1.0.0" and row["detail"]["bytes_sent"] == done["bytes_sent"] > 0

    writes = len([line for line in hub.requests if not line.startswith(("GET", "HEAD"))])
    again = publish(hub, lake)
    assert again["state"] == "already published"
    assert len([line for line in hub.requests if not line.startswith(("GET", "HEAD"))]) == writes

    code = (
        "import datasets, json; d = datasets.load_dataset('someone/small', revision='v1.0.0');"
        "print(json.dumps({s: [[r['source'], r['source_key'], r['caption'], r['image'] is not None] for r in d[s]] for s in d}))"
    )
    env = environment(hub, lake.parent / "home")
    loaded = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
    assert loaded.returncode == 0, loaded.stderr[-3000:]
    rows = json.loads(loaded.stdout)
    assert sorted((r[0], r[1]) for split in rows.values() for r in split) == [
        ("album", "x"), ("album", "y"), ("coco", "1"), ("coco", "2"), ("coco", "3"), ("web", "a"), ("web", "b"),
    ]  # fmt: skip
    assert all(has == (source != "web") for split in rows.values() for source, _, _, has in split)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("preupload", status=429, headers={"Retry-After": "0"}),
        Fault("PUT /lfs/", status=500),
        Fault("POST .*/commit/main", status=0),  # done, but the answer is lost
        Fault("POST .*/commit/captionlake", status=503, times=2),
        Fault("GET .*/tree/", cut=40),
    ],
    ids=lambda fault: f"{fault.match}-{fault.status}-{fault.cut}",
)
def test_faults_that_pass_leave_one_version(hub: HubServer, lake: Path, fault: Fault) -> None:
    hub.faults = [fault]
    assert publish(hub, lake)["state"] == "published"
    assert fault.times == 0, "the fault never came"
    repo = hub.repos[KEY]
    assert repo.branches.keys() == {"main"} and repo.tags["v1.0.0"] == repo.branches["main"]
    assert len(repo.log("main")) == 2


def test_a_push_in_between_is_not_overwritten(hub: HubServer, lake: Path) -> None:
    def push() -> None:
        repo = hub.repos[KEY]
        tree = {**repo.commits[repo.branches["main"]].tree, "theirs.txt": File(b"theirs", None, 6)}
        repo.commit("main", tree, "theirs", repo.branches["main"])

    hub.before = [("POST .*/commit/main", push)]
    assert "somebody else has pushed" in publish(hub, lake)
    assert "theirs.txt" in hub.repos[KEY].commits[hub.repos[KEY].branches["main"]].tree
    assert not hub.repos[KEY].tags
    assert "captionlake did not publish" in publish(hub, lake)


def test_tokens_and_repositories_that_will_not_do(hub: HubServer, lake: Path) -> None:
    assert "no token" in publish(hub, lake, token=None)
    assert "may only read" in publish(hub, lake, token="hf_readertoken0")
    hub.tokens["hf_writertoken0"] = ("another", "write")
    assert "not someone's" in publish(hub, lake)
    assert not hub.repos


@pytest.mark.parametrize(
    "moment",
    [
        "POST .*/branch/",
        "PUT /lfs/",
        "POST .*/commit/captionlake",
        "POST .*/commit/main",
        "POST .*/tag/",
        "DELETE .*/branch/",
    ],
)
def test_killed_at_any_moment_the_next_one_completes(hub: HubServer, lake: Path, moment: str) -> None:
    process = subprocess.Popen(
        command(lake), env=environment(hub, lake.parent / "home"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    hub.before = [(moment, lambda: os.kill(process.pid, signal.SIGKILL))]
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    repo = hub.repos[KEY]
    main = repo.commits[repo.branches["main"]].tree
    assert set(main) == {".gitattributes"} or {"README.md", "captionlake.json"} < set(main)
    done = publish(hub, lake)
    assert done["state"] in ("published", "already published")
    assert repo.tags == {"v1.0.0": repo.branches["main"]} and len(repo.log("main")) == 2
    with Lake.open(lake) as opened:
        assert [row["revision"] for row in publications(opened)] == [repo.branches["main"]]


DELIVER = """
import json, sys
from pathlib import Path
from captionlake.cards.publishing.hub import Hub
from captionlake.cards.publishing.plan import local_files
from captionlake.cards.publishing.preflight import refuse
from captionlake.cards.publishing.publish import PublishOptions, deliver, look

folder, erase = Path(sys.argv[1]), len(sys.argv) > 2
mark = json.loads((folder / "captionlake.json").read_text())
hub, options = Hub("someone/small", "dataset"), PublishOptions(erase_history=erase)
there = look(hub, f"v{mark['version']}", mark, options)
refuse(there.problems)
done, erased = deliver(hub, local_files(folder), mark, there, options)
print(json.dumps([done.revision, erased.receipt() if erased else None]))
"""


def deliver(hub: HubServer, tmp_path: Path, version: str, rows: dict[str, bytes], redacted: int, *more: str) -> Any:
    """Publish a folder of a mark and of files as it stands, in a process of its own."""
    folder = tmp_path / f"{version}-{redacted}"
    (folder / "data").mkdir(parents=True)
    mark = {"format": 1, "kind": "dataset", "name": "small", "version": version, "content_sha256": version}
    (folder / "captionlake.json").write_text(json.dumps(mark | {"redacted": redacted}))
    for name, content in rows.items():
        (folder / "data" / name).write_bytes(content)
    env = environment(hub, tmp_path / "home")
    line = [sys.executable, "-c", DELIVER, str(folder), *more]
    done = subprocess.run(line, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_after_a_takedown_no_old_commit_and_no_old_file_can_be_read(hub: HubServer, tmp_path: Path) -> None:
    kept, gone = {"kept.bin": b"kept" * 100}, {"gone.bin": b"taken down" * 100}
    first, _ = deliver(hub, tmp_path, "1.0.0", kept | gone, 0)
    deliver(hub, tmp_path, "1.1.0", kept, 0)
    repo = hub.repos[KEY]
    assert set(repo.tags) == {"v1.0.0", "v1.1.0"} and first in repo.commits
    assert gone["gone.bin"] in hub.objects.values()

    revision, receipt = deliver(hub, tmp_path, "1.0.0", kept, 1, "erase")
    assert repo.tags["v1.0.0"] == revision and repo.branches.keys() == {"main"}
    assert "1.1.0" in repo.commits[repo.branches["main"]].tree["captionlake.json"].data.decode()
    assert repo.commits[repo.tags["v1.1.0"]].tree.keys() == {".gitattributes", "captionlake.json", "data/kept.bin"}
    assert first not in repo.commits and gone["gone.bin"] not in hub.objects.values()
    assert [entry["file"] for entry in receipt["objects"]] == ["data/gone.bin"]
    everything = [file.lfs for commit in repo.commits.values() for file in commit.tree.values()]
    assert all(lfs is None or lfs in hub.objects for lfs in everything)


def test_a_version_never_changes(hub: HubServer, lake: Path) -> None:
    publish(hub, lake)
    with Lake.open(lake) as opened:
        opened.commit(lambda c: c.execute("UPDATE captions SET text = text || '!' WHERE source_key = '3'"))
    assert "does not verify" in publish(hub, lake, "--erase-history")
    with Lake.open(lake) as opened:
        seal(opened, "small@1.0.0")
    assert "v1.0.0 of someone/small is there with other content" in publish(hub, lake)
