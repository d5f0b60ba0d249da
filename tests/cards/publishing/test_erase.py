"""A second version, and what a takedown asks of a repository: new content under the old tags, and no way back to the old files."""

from pathlib import Path
from typing import Any

import pytest

from captionlake.cards.publishing.receipts import publications
from captionlake.lake import Lake

from .client import Client
from .conftest import seal
from .hub_server import HubServer

REPO = "someone/small"
KEY = f"datasets/{REPO}"
_COPY = """
INSERT INTO releases SELECT * REPLACE ('1.1.0' AS version, now() AS created_at) FROM releases WHERE version = '1.0.0';
INSERT INTO release_items SELECT * REPLACE ('1.1.0' AS version, CASE source_key WHEN 'y' THEN 'test' ELSE split END AS split)
    FROM release_items WHERE version = '1.0.0';
INSERT INTO release_captions SELECT * REPLACE ('1.1.0' AS version) FROM release_captions WHERE version = '1.0.0';
INSERT INTO exclusions SELECT * REPLACE ('1.1.0' AS version) FROM exclusions WHERE version = '1.0.0';
"""


def publish(client: Client, lake: Path, version: str, *more: str) -> Any:
    """What it printed."""
    return client.run("publish", f"small@{version}", REPO, "--lake", lake, "--json", *more).json


def everything(hub: HubServer) -> list[bytes]:
    """The bytes that can be read of the repository by any name of a commit, and all large files."""
    commits = hub.repos[KEY].commits.values()
    return [*hub.objects.values(), *(file.data for commit in commits for file in commit.tree.values())]


@pytest.fixture
def two(ready_lake: Path, hub: HubServer, client: Client) -> Path:
    """A lake with two versions, both published; the later one has a picture in another split."""
    with Lake.open(ready_lake) as opened:
        for statement in _COPY.strip().split(";"):
            if statement.strip():
                opened.commit(lambda c, text=statement: c.execute(text))  # type: ignore[misc]
        seal(opened, "small@1.1.0")
    assert publish(client, ready_lake, "1.0.0")["state"] == "published"
    later = publish(client, ready_lake, "1.1.0")
    assert later["state"] == "published" and later["same"] >= 1
    assert {file["path"] for file in later["files"]} >= {"README.md", "data/train-00000-of-00001.parquet"}
    return ready_lake


def test_two_versions_and_a_takedown(hub: HubServer, client: Client, two: Path, pictures: dict[str, bytes]) -> None:
    repo = hub.repos[KEY]
    assert repo.tags["v1.1.0"] == repo.branches["main"] and repo.tags["v1.0.0"] in repo.commits
    first = dict(repo.tags)
    gone = pictures["astronaut"]
    assert any(gone in data for data in everything(hub))

    receipt = client.run(
        "takedown", "--source-key", "coco:1", "--reason", "asked for", "--yes", "--lake", two, "--json"
    ).json
    named = [(one["release"], one["revision"]) for one in receipt["touched"]["publications"]]
    assert named == [("small@1.0.0", first["v1.0.0"]), ("small@1.1.0", first["v1.1.0"])]

    done = publish(client, two, "1.0.0")  # an older version than main's: its tag alone moves
    assert done["state"] == "published" and repo.tags["v1.0.0"] == done["revision"] != first["v1.0.0"]
    assert repo.branches == {"main": first["v1.1.0"]}
    remains = [f"captionlake publish small@{version} {REPO} --erase-history" for version in ("1.0.0", "1.1.0")]
    assert [line.split(": ", 1)[1] for line in done["remains"]] == remains
    again = publish(client, two, "1.0.0")
    assert again["state"] == "already published" and again["remains"] == done["remains"]

    done = publish(client, two, "1.0.0", "--erase-history")
    assert done["state"] == "already published" and done["revision"] == repo.tags["v1.0.0"], "nothing travels"
    assert [line.split(": ", 1)[1] for line in done["remains"]] == remains[1:]
    assert any(gone in data for data in everything(hub)), "v1.1.0 has it still"
    before = repo.tags["v1.1.0"]
    done = publish(client, two, "1.1.0", "--erase-history")
    assert done["remains"] == [] and repo.branches == {"main": done["revision"]} and repo.tags.keys() == first.keys()
    assert not set(first.values()) & repo.commits.keys() and all(
        commit.parent is None for commit in repo.commits.values()
    )
    assert not any(gone in data for data in everything(hub))
    large = {file.lfs for tag in repo.tags for file in repo.files(tag).values() if file.lfs}
    assert large == hub.objects.keys(), "each one that is left is in a tag, and the other way round"

    with Lake.open(two) as opened:
        detail = publications(opened, "small", "1.1.0")[-1]["detail"]
    assert (
        detail == done["detail"] and detail["redacted"] == 1 and detail["history_erased"] and detail["private"] is False
    )
    assert detail["erased"]["before"] == before and detail["erased"]["after"] == done["revision"]
    assert "data/train-00000-of-00001.parquet" in {one["file"] for one in detail["erased"]["objects"]}
