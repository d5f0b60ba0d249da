"""A lake of which no part lies on one machine's disk alone: its catalog in PostgreSQL, its tables and pictures in a bucket."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from captionlake.cli import captionlake
from captionlake.lake import Lake
from captionlake.lake.ingest import ingest
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.place import catalog_of
from captionlake.lake.releases.gc import collect
from captionlake.lake.releases.release import create_release
from captionlake.lake.releases.verification import verify_release
from captionlake.lake.restoring import back_up, restore
from captionlake.lake.takedown.finding import Request, find
from captionlake.lake.takedown.needles import picture_needle
from captionlake.lake.takedown.removal import take_down
from captionlake.lake.takedown.scan import scan
from captionlake.models.data import ReleaseData

from .object_server import BUCKET, ObjectServer, program
from .postgres_server import Server, programs
from .releases.test_releases import draft

pytestmark = pytest.mark.skipif(programs() is None or program() is None, reason="needs PostgreSQL and SeaweedFS")


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lake]:
    catalogs, objects = Server(), ObjectServer(tmp_path / "objects")
    try:
        objects.start()
        for name, value in (catalogs.environment(tmp_path) | objects.environment).items():
            monkeypatch.setenv(name, value)
        with Lake.init(tmp_path / "lake", catalogs.database(), f"s3://{BUCKET}/lake") as made:
            yield made
    finally:
        objects.kill()
        catalogs.stop()


def test_both(lake: Lake, tile_folder: Callable[[int], Path]) -> None:
    pictures = tile_folder(12)
    ingest(lake, IngestConfig(source="folder", inputs=[str(pictures)], collection="tiles", redistribute="bytes"))
    assert not list(lake.path.rglob("*.parquet")) and not (lake.path / "catalog.sqlite").exists()
    captions = lake.value("SELECT count(*) FROM captions")
    create_release(lake, draft(lake, "1.0.0", keep=12))
    assert verify_release(lake, "tiles@1.0.0").n_problems == 0
    data = ReleaseData.open(lake.path, "tiles@1.0.0", split=None)
    assert {sample.images[0] for sample in (data[index] for index in range(len(data)))} == {
        path.read_bytes() for path in pictures.glob("*.jpg")
    }
    query = "SELECT count(*) n, sum(octet_length(bytes)) bytes FROM image_bytes"
    found = CliRunner().invoke(captionlake, ["sql", query, "--lake", str(lake.path), "--json"])
    assert json.loads(found.output)["rows"] == [{"n": 12, "bytes": lake.value("SELECT sum(n_bytes) FROM images")}]

    backup = back_up(lake.path)
    lake.commit(lambda connection: connection.execute("DELETE FROM captions"))
    lake.close()
    assert restore(lake.path, backup).replaced
    lake = Lake.open(lake.path)
    assert (
        lake.value("SELECT count(*) FROM captions") == captions and verify_release(lake, "tiles@1.0.0").n_problems == 0
    )

    gone, key = lake.rows("SELECT image_id, source_key FROM images ORDER BY source_key")[0]
    needle = picture_needle(pictures / key)
    done = take_down(lake, find(lake, Request(image_ids=[gone])).hashes, "asked for")
    assert not scan(lake, done.hashes, [needle]).left
    assert backup not in str(catalog_of(lake.path).backups())
    collect(lake, keep_days=0)
    assert verify_release(lake, "tiles@1.0.0").n_problems == 0 and lake.value("SELECT count(*) FROM images") == 11
    lake.close()
