"""A release is forgotten whole, others and the lake stay as they are; one that was published is kept."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.ingest import ingest
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.releases.commands import release as command
from captionlake.lake.releases.deletion import delete_release
from captionlake.lake.releases.release import create_release, list_releases
from captionlake.lake.releases.verification import verify_release

from .test_releases import draft


@pytest.fixture
def lake(lake: Lake, tile_folder: Callable[[int], Path]) -> Lake:
    ingest(lake, IngestConfig(source="folder", inputs=[str(tile_folder(12))]))
    for version in ("1.0.0-rc.1", "1.0.0"):
        create_release(lake, draft(lake, version))
    return lake


def rows(lake: Lake) -> set[tuple[str, str]]:
    """(table, version) of what there is of releases."""
    tables = ("releases", "release_items", "release_captions", "exclusions")
    return {(table, version) for table in tables for (version,) in lake.rows(f"SELECT DISTINCT version FROM {table}")}


def test_it_leaves_nothing_and_takes_nothing_else(lake: Lake) -> None:
    before = rows(lake)
    delete_release(lake, "tiles@1.0.0-rc.1")
    assert rows(lake) == {(table, version) for table, version in before if version == "1.0.0"}
    assert verify_release(lake, "tiles@1.0.0").n_problems == 0
    assert lake.value("SELECT count(*) FROM images") == 12
    with pytest.raises(CaptionlakeError, match=r"no release tiles@1\.0\.0-rc\.1: there are tiles@1\.0\.0"):
        delete_release(lake, "tiles@1.0.0-rc.1")
    again, new = create_release(lake, draft(lake, "1.0.0-rc.1"))
    assert new and [release.label for release in list_releases(lake)] == [again.label, "tiles@1.0.0"]


def test_what_was_published_is_kept_unless_forced(lake: Lake) -> None:
    lake.commit(
        lambda connection: connection.execute(
            "INSERT INTO publications VALUES ('tiles', '1.0.0', 'someone/tiles', 'main', NULL, now())"
        )
    )
    before = rows(lake)
    asked = ["delete", "tiles@1.0.0", "--json", "--lake", str(lake.path)]
    refused = CliRunner().invoke(command, asked)
    assert refused.exit_code == 1 and "was published as someone/tiles" in str(refused.exception)
    assert rows(lake) == before
    done = CliRunner().invoke(command, [*asked, "--force"])
    assert done.exit_code == 0 and json.loads(done.output)["n_items"] == 9
    assert {version for _, version in rows(lake)} == {"1.0.0-rc.1"}
