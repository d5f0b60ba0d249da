"""An export read by DuckDB and Polars, as the documentation says."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import duckdb
import polars as pl
import pytest

from captionlake.lake import Lake
from captionlake.lake.exports.forms import export_release
from captionlake.lake.ingest import ingest
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.releases.release import create_release

from ..releases.test_releases import draft

TEXTS = [f"Tile number {number} of a photograph" for number in range(9)]


@pytest.fixture
def data(lake: Lake, tile_folder: Callable[[int], Path], tmp_path: Path) -> Path:
    """Nine rows, of which two have no picture to pass on and one has no caption."""
    ingest(lake, IngestConfig(source="folder", inputs=[str(tile_folder(12))], redistribute="bytes"))
    for change in (
        "INSERT INTO sources BY NAME SELECT 'kept' AS source, 'x' AS collection, 'none' AS redistribute",
        "UPDATE images SET source = 'kept' WHERE source_key < '00002'",
        "UPDATE captions SET source = 'kept' WHERE source_key < '00002'",
        "DELETE FROM captions WHERE source_key = '00008.jpg'",
    ):
        lake.commit(partial(duckdb.DuckDBPyConnection.execute, query=change))
    create_release(lake, draft(lake))
    export_release(lake, "tiles@1.0.0", "parquet", tmp_path / "out")
    return tmp_path / "out/data"


def test_duckdb_counts_and_reads(data: Path) -> None:
    connection = duckdb.connect()
    connection.execute(f"CREATE VIEW rows AS FROM read_parquet('{data}/*.parquet')")
    assert connection.execute(
        "SELECT count(*), count(caption), count(image), count(image.bytes) FROM rows"
    ).fetchone() == (
        *(9, 8),
        *(7, 7),
    )
    one = connection.execute("SELECT source_key, c.text, c.producer FROM rows, unnest(captions) AS t(c) ORDER BY 1")
    assert one.fetchall() == [(f"{number:05d}.jpg", TEXTS[number], "source") for number in range(8)]
    same = "SELECT bool_and(sha256(image.bytes) = image_id) FROM rows WHERE image IS NOT NULL"
    assert connection.execute(same).fetchone() == (True,)


def test_polars_counts_and_reads(data: Path) -> None:
    rows = pl.scan_parquet(data / "*.parquet")
    counts = rows.select(pl.len(), pl.col("caption").count().alias("captions"), pl.col("image").count().alias("images"))
    assert counts.collect().row(0) == (9, 8, 7)
    told = rows.select("source_key", "captions").explode("captions").drop_nulls("captions").unnest("captions")
    assert told.sort("source_key").collect()["text"].to_list() == TEXTS[:8]
    bytes_of = rows.select(pl.col("image").struct.field("bytes")).collect()["bytes"]
    assert bytes_of.null_count() == 2 and all(data[:3] == b"\xff\xd8\xff" for data in bytes_of.drop_nulls())
