"""Publishing against a local Hub with huggingface_hub's own client, in processes of their own: whole, with faults, killed."""

import os
import signal
import threading
import time
from functools import partial
from pathlib import Path

from filelock import FileLock

from captionlake.cards.publishing.receipts import publications
from captionlake.lake import Lake

from .client import READER, Client
from .conftest import seal
from .hub_server import Fault, File, HubServer

REPO = "someone/small"
KEY = f"datasets/{REPO}"
MARK = "captionlake-publication.json"
COMPLETE = {"README.md", "LICENSE.md", "facts.json", MARK, "data/test-00000-of-00001.parquet"}


def command(lake: Path, *more: str) -> list[str]:
    """The command line of a publish."""
    return ["publish", "small@1.0.0", REPO, "--lake", str(lake), "--json", *more]


def writes(hub: HubServer) -> list[str]:
    """What was asked that may change something there."""
    return [line for line in hub.requests if not line.startswith(("GET", "HEAD"))]


def whole(hub: HubServer, lake: Path) -> None:
    """One version on main with its tag, nothing else, and its row in the lake."""
    repo = hub.repos[KEY]
    assert repo.branches.keys() == {"main"} and repo.tags == {"v1.0.0": repo.branches["main"]}
    assert [commit.title for commit in repo.log("main")] == ["small 1.0.0", "initial commit"]
    assert set(repo.files("main")) > COMPLETE
    with Lake.open(lake) as opened:
        assert [row["revision"] for row in publications(opened, "small", "1.0.0")] == [repo.branches["main"]]


def test_dry_run_creates_nothing_and_a_second_publish_writes_nothing(
    hub: HubServer, client: Client, ready_lake: Path
) -> None:
    planned = client.run(*command(ready_lake, "--dry-run")).json
    assert planned["state"] == "dry run" and not hub.repos and not writes(hub)
    done = client.run(*command(ready_lake, "--private", "--gated", "manual")).json
    assert done["state"] == "published" and done["revision"] == hub.repos[KEY].branches["main"]
    assert hub.repos[KEY].private and hub.repos[KEY].gated == "manual"
    assert {file["path"] for file in done["files"]} == {file["path"] for file in planned["files"]}
    whole(hub, ready_lake)
    with Lake.open(ready_lake) as opened:
        (row,) = publications(opened)
    assert row["repo_id"] == REPO and row["detail"] == done["detail"]
    assert row["detail"]["private"] is True and row["detail"]["bytes_sent"] == done["bytes_sent"] > 0
    assert not [path for path in (ready_lake / "cache" / "publish").iterdir() if path.is_dir()], "nothing is kept"
    before = writes(hub)
    assert client.run(*command(ready_lake)).json["state"] == "already published"
    assert writes(hub) == before
    said = client.run(*command(ready_lake)[:-1])
    assert said.stdout.startswith(f"already published: {hub.url}/datasets/{REPO} v1.0.0, commit") and not said.stderr


NOW = {"Retry-After": "0"}


def test_faults_that_pass_leave_one_version(hub: HubServer, client: Client, ready_lake: Path) -> None:
    """Told to come again, errors of the server, and a server that is gone in the middle of an answer."""
    hub.faults = [
        Fault("whoami", status=429, headers=NOW),
        Fault("POST .*/preupload/captionlake", status=429, headers=NOW),
        Fault("PUT /lfs/", status=500),
        Fault("POST .*/commit/captionlake", status=503, times=2, headers=NOW),
        Fault("GET .*/tree/", cut=40),
        Fault(f"GET .*/resolve/.*{MARK}", status=500),
        Fault("GET /cdn/", cut=3),
        Fault("POST .*/commit/main", status=429, headers=NOW),
        Fault("POST .*/tag/", status=502),
    ]
    assert client.run(*command(ready_lake)).json["state"] == "published"
    assert not [fault for fault in hub.faults if fault.times], "each came"
    whole(hub, ready_lake)


def test_what_was_done_without_an_answer_is_not_done_twice(hub: HubServer, client: Client, ready_lake: Path) -> None:
    changing = ("repos/create", "branch/", "commit/captionlake", "commit/main", "tag/", "PUT /lfs/")
    hub.faults = [Fault(f"(POST|PUT).*{match}" if "PUT" not in match else match, status=0) for match in changing]
    hub.faults.append(Fault("DELETE .*/branch/", status=0))
    assert client.run(*command(ready_lake)).json["state"] == "published"
    assert not [fault for fault in hub.faults if fault.times], "each came"
    whole(hub, ready_lake)


def test_a_server_that_stays_broken_is_told_in_one_line(hub: HubServer, client: Client, ready_lake: Path) -> None:
    hub.faults = [Fault("POST .*/commit/main", status=500, times=99)]
    assert "the Hub answered 500" in client.run(*command(ready_lake)).error
    assert set(hub.repos[KEY].files("main")) == {".gitattributes"} and not hub.repos[KEY].tags
    hub.faults = []
    sent = len([line for line in hub.requests if line.startswith("PUT /lfs/")])
    assert client.run(*command(ready_lake)).json["state"] == "published"
    assert len([line for line in hub.requests if line.startswith("PUT /lfs/")]) == sent, "large files are there"
    whole(hub, ready_lake)


def test_a_push_in_between_is_not_overwritten(hub: HubServer, client: Client, ready_lake: Path) -> None:
    def push() -> None:
        repo = hub.repos[KEY]
        repo.commit(
            "main", {**repo.files("main"), "theirs.txt": File(b"theirs", None, 6)}, "theirs", repo.branches["main"]
        )

    hub.before = [("POST .*/commit/main", push)]
    assert "somebody else has pushed" in client.run(*command(ready_lake)).error
    assert "theirs.txt" in hub.repos[KEY].files("main") and not hub.repos[KEY].tags
    assert "captionlake did not publish" in client.run(*command(ready_lake)).error


def test_tokens_and_repositories_that_will_not_do(hub: HubServer, client: Client, ready_lake: Path) -> None:
    assert "no token" in client.run(*command(ready_lake), token=None).error
    asked = len(hub.requests)
    told = client.run(*command(ready_lake), "--dry-run", token=None).json
    assert told["looked"] is False and told["bytes_sent"] == sum(file["bytes"] for file in told["files"]) > 0
    assert len(hub.requests) == asked and not hub.repos
    assert "may only read" in client.run(*command(ready_lake), token=READER).error
    hub.tokens["hf_writertoken0"] = ("another", "write")
    assert "not someone's" in client.run(*command(ready_lake)).error
    hub.tokens["hf_writertoken0"] = ("another", "fineGrained")
    said = client.run(*command(ready_lake))
    assert said.status == 1 and said.stderr.count("error: ") == 2 and "may only read" in said.stderr, "all at once"
    bad = client.run("publish", "small@1.0.0", "no owner", "--lake", ready_lake).error
    assert "no repository's id" in bad
    assert not hub.repos


def test_rights_that_end_in_the_middle(hub: HubServer, client: Client, ready_lake: Path) -> None:
    hub.before = [("POST .*/commit/main", lambda: hub.tokens.update({"hf_writertoken0": ("someone", "read")}))]
    assert "use a token that may write" in client.run(*command(ready_lake)).error
    assert set(hub.repos[KEY].files("main")) == {".gitattributes"}


PLACES = (
    "POST .*repos/create", "POST .*/branch/", "PUT /lfs/", "POST /lfs-verify", "POST .*/commit/captionlake", "POST .*/commit/main",
    "POST .*/tag/", "DELETE .*/branch/",
)  # fmt: skip


def kill_child(client: Client, done: bool) -> bool:
    """Whether the server is to leave undone what it was asked."""
    os.kill(client.child, signal.SIGKILL)
    return not done


def test_killed_again_and_again(hub: HubServer, client: Client, ready_lake: Path) -> None:
    """At each request that changes something, which the server carries out or not: no reader of main or of a tag sees half."""

    for place, done in [(place, done) for place in PLACES for done in (False, True)]:
        if done and "lfs" in place:
            continue
        hub.before = [(place, partial(kill_child, client, done))]
        assert client.run(*command(ready_lake)).status == -signal.SIGKILL, place
        time.sleep(0.05)  # the server ends what it is at
        for revision in (*hub.repos[KEY].branches.values(), *hub.repos[KEY].tags.values()) if KEY in hub.repos else ():
            files = set(hub.repos[KEY].files(revision)) - {".gitattributes"}
            assert not files or files >= COMPLETE, place
    assert client.run(*command(ready_lake)).json["state"] == "already published"
    whole(hub, ready_lake)
    assert not [path for path in (ready_lake / "cache" / "publish").iterdir() if path.is_dir()]


def test_killed_while_history_is_rewritten(hub: HubServer, client: Client, ready_lake: Path) -> None:
    assert client.run(*command(ready_lake)).status == 0
    repo = hub.repos[KEY]
    first, complete = repo.branches["main"], set(repo.files("main"))
    for place, done in (
        ("POST .*/super-squash/", False),
        ("POST .*/super-squash/", True),
        ("DELETE .*/tag/", False),
        ("POST .*/tag/", True),
    ):
        hub.before = [(place, partial(kill_child, client, done))]
        assert client.run(*command(ready_lake, "--erase-history")).status == -signal.SIGKILL, place
        time.sleep(0.05)
        assert set(repo.files("main")) == set(repo.files("v1.0.0")) == complete, place
    done = client.run(*command(ready_lake, "--erase-history")).json
    assert repo.branches == {"main": done["revision"]} and repo.tags == {"v1.0.0": done["revision"]}
    assert first not in repo.commits and len(repo.log("main")) == 1 and set(repo.files("main")) == complete


def test_killed_while_it_is_laid_ready(hub: HubServer, client: Client, lake: Path) -> None:
    killed = threading.Event()

    def kill() -> None:
        while not killed.wait(0.002):
            if list((lake / "cache").glob("publish/*.part/export/data")):
                os.kill(client.child, signal.SIGKILL)
                killed.set()

    thread = threading.Thread(target=kill)
    thread.start()
    status = client.run(*command(lake)).status
    killed.set()
    thread.join()
    assert status == -signal.SIGKILL and not hub.repos
    assert client.run(*command(lake)).json["state"] == "published"
    whole(hub, lake)


FULL = """
import resource, signal, sys
from captionlake.lake.exports import forms
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
export = forms.export_release
def full(*given, **options):
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))
    return export(*given, **options)
forms.export_release = full
sys.argv = ["captionlake", *arguments]
sys.modules["captionlake.cli"].main()
"""


def test_a_full_disk_sends_nothing(hub: HubServer, client: Client, lake: Path) -> None:
    """A limit on the size of files stands in for it: the release's Parquet does not fit."""
    assert "make room" in client.run(*command(lake), code=FULL).error
    assert not hub.repos
    assert not [path for path in (lake / "cache" / "publish").iterdir() if path.is_dir()]


def test_one_at_a_time(hub: HubServer, client: Client, ready_lake: Path) -> None:
    with FileLock(ready_lake / "cache" / "publish" / "publish.lock"):
        assert "another process is publishing" in client.run(*command(ready_lake)).error
    assert not hub.repos


def test_a_version_never_changes(hub: HubServer, client: Client, ready_lake: Path) -> None:
    client.run(*command(ready_lake))
    with Lake.open(ready_lake) as opened:
        opened.commit(lambda c: c.execute("UPDATE captions SET text = text || '!' WHERE source_key = '3'"))
    other = client.run("publish", "small@1.0.0", "someone/other", "--lake", ready_lake).error
    assert other.count("does not verify") == 2 and f"{KEY[:-5]}other" not in hub.repos
    with Lake.open(ready_lake) as opened:
        seal(opened, "small@1.0.0")
    assert "v1.0.0 of someone/small is there with other content" in client.run(*command(ready_lake)).error


def test_a_takedown_while_it_is_uploaded_shows_nothing(hub: HubServer, client: Client, ready_lake: Path) -> None:
    def change() -> None:
        with Lake.open(ready_lake) as opened:
            opened.commit(
                lambda c: c.execute(
                    "UPDATE release_items SET source = NULL, source_key = NULL, image_id = NULL WHERE source_key = '1'"
                )
            )

    hub.before = [("POST .*/commit/captionlake", change)]
    assert "changed while it was uploaded" in client.run(*command(ready_lake)).error
    assert set(hub.repos[KEY].files("main")) == {".gitattributes"} and not hub.repos[KEY].tags
