"""Spark, a real one on this machine: a release's exported Parquet read and counted, and img2dataset's own Spark distributor."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from captionlake.lake import Lake, ingest_job
from captionlake.lake.exports.forms import export_release
from captionlake.lake.fetch_cluster import Fetchers
from captionlake.lake.guard import FetchPolicy
from captionlake.lake.ingest import ingest
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.releases.config import ReleaseConfig
from captionlake.lake.releases.release import Draft, create_release

from .lake.image_server import ImageServer

pytest.importorskip("pyspark")
pytestmark = pytest.mark.skipif(
    shutil.which("java") is None, reason="Spark needs Java: apt-get install default-jre-headless"
)

NewLake = Callable[[Path], Lake]
COMPOSITION = (
    "SELECT collection, source, count(*) AS items, count(DISTINCT image_id) AS pictures, sum(width * height) AS pixels, "
    "sum(CASE WHEN caption IS NULL THEN 0 ELSE 1 END) AS captioned FROM released GROUP BY collection, source ORDER BY collection"
)


@pytest.fixture
def loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)


@pytest.fixture
def spark(loopback: None) -> Iterator[Any]:
    from pyspark.sql import SparkSession

    builder: Any = SparkSession.builder
    session = builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
    yield session
    session.stop()


@pytest.fixture
def exported(lake: Lake, tiles: Callable[[int], list[bytes]], tmp_path: Path) -> Path:
    """A release of two collections, in two splits, as Parquet."""
    pictures = tiles(20)
    for collection, numbers in (("coco", range(13)), ("web", range(13, 20))):
        folder = tmp_path / collection
        folder.mkdir()
        for number in numbers:
            (folder / f"{number:02d}.jpg").write_bytes(pictures[number])
        lines = [f"{number:02d}.jpg,Tile number {number}" for number in numbers if number % 3]
        (folder / "metadata.csv").write_text("\n".join(["file_name,caption", *lines]) + "\n")
        ingest(lake, IngestConfig(source="folder", inputs=[str(folder)], collection=collection, redistribute="bytes"))
    none = dict.fromkeys(("source", "source_key", "reason", "detail", "keeper_source", "keeper_key"), pl.String)
    splits = "CASE WHEN image_id < '8' THEN 'train' ELSE 'test' END AS split"
    draft = Draft(
        config=ReleaseConfig(name="made", version="1.0.0"),
        recipe="",
        snapshot=lake.snapshot(),
        items=lake.arrow(f"SELECT source, source_key, image_id, {splits} FROM images"),
        exclusions=pl.DataFrame(schema={**none, "similarity": pl.Float64}).to_arrow(),
        producers=["source"],
    )
    create_release(lake, draft)
    export_release(lake, "made@1.0.0", "parquet", tmp_path / "exported")
    return tmp_path / "exported"


def test_spark_counts_a_release_as_duckdb_does(spark: Any, exported: Path, lake: Lake) -> None:
    spark.read.option("recursiveFileLookup", "true").option("pathGlobFilter", "*.parquet").parquet(
        str(exported)
    ).createOrReplaceTempView("released")
    by_spark = [tuple(row) for row in spark.sql(COMPOSITION).collect()]
    files = sorted(str(path) for path in exported.rglob("*.parquet"))
    assert len(files) == 2
    with duckdb.connect() as connection:
        connection.execute("CREATE VIEW released AS SELECT * FROM read_parquet($files)".replace("$files", repr(files)))
        assert by_spark == connection.execute(COMPOSITION).fetchall()
    in_lake = lake.rows(
        "SELECT collection, count(*) FROM release_items JOIN images USING (source, source_key) GROUP BY 1 ORDER BY 1"
    )
    assert [(collection, items) for collection, _, items, *_ in by_spark] == in_lake == [("coco", 13), ("web", 7)]
    first = spark.sql("SELECT image_id, sha2(image.bytes, 256) AS hashed FROM released").collect()
    assert len(first) == 20 and all(row.image_id == row.hashed for row in first)  # bytes included


def test_what_spark_fetches_is_what_is_fetched_here(
    new_lake: NewLake, tmp_path: Path, loopback: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest_job, "_PICTURES_PER_DOWNLOAD", 8)
    policy = FetchPolicy(processes=1, threads=4, timeout=5, total_timeout=10, retries=1)
    stored = []
    with ImageServer() as server:
        urls = [server.url(f"/image/{number}") for number in range(20)]
        urls += [server.url("/nothing"), server.url("/page"), "file:///etc/passwd"]
        table = tmp_path / "list.csv"
        table.write_text("url,name\n" + "".join(f'"{url}",Subject {n}\n' for n, url in enumerate(urls)))
        for name, fetchers in (("here", Fetchers()), ("spark", Fetchers("pyspark", "local[1]"))):
            with new_lake(tmp_path / name) as lake:
                config = IngestConfig(source="web", inputs=[str(table)], allow_private_hosts=True, fetch=policy)
                ingest(lake, config, fetchers=fetchers)
                pictures = lake.rows("SELECT source_key, image_id, url, n_bytes FROM images ORDER BY 1")
                assert len(list(lake.pictures([row[1] for row in pictures]))) == len(pictures) == 20
                failures = lake.rows("SELECT source_key, reason, attempts FROM fetch_failures ORDER BY 1")
                stored.append((pictures, failures))
    assert stored[0] == stored[1]
    assert "blocked_scheme" in {reason for _, reason, _ in stored[1][1]}  # by the guard, in Spark's own process
