"""What was published is read back by the programs that people read it with: datasets, Polars, DuckDB. Every row is the lake's."""

import json
from pathlib import Path

import pytest

from captionlake.lake import Lake
from captionlake.lake.catalog import extension_path

from .client import Client
from .hub_server import HubServer

ROWS = """
    SELECT source, source_key, i.split, image_id, (
        SELECT list(text ORDER BY ordinal) FROM release_captions c JOIN captions USING (caption_id)
        WHERE (c.name, c.version, c.position) = (i.name, i.version, i.position)
    ) FROM release_items i WHERE version = '1.0.0' ORDER BY ALL
"""
DATASETS = """
import datasets, hashlib, json
found = datasets.load_dataset("someone/small", revision="v1.0.0").cast_column("image", datasets.Image(decode=False))
rows = [[r["source"], r["source_key"], s, r["image_id"], [c["text"] for c in r["captions"]]] for s in found for r in found[s]]
images = {r["source_key"]: r["image"] for s in found for r in found[s]}
held = {key: hashlib.sha256(image["bytes"]).hexdigest() for key, image in images.items() if image and image["bytes"] is not None}
print(json.dumps({"rows": rows, "held": held}))
"""
DECODED = """
import datasets, json
found = datasets.load_dataset("someone/small", revision="v1.0.0")
rows = [row for split in found for row in found[split]]
print(json.dumps([[row["source"], row["image"] and [row["image"].size == (row["width"], row["height"])]] for row in rows]))
"""
POLARS = """
import json, os, polars as pl
url = os.environ["HF_ENDPOINT"] + "/datasets/someone/small/resolve/v1.0.0/data/"  # hf:// is huggingface.co alone, here and in DuckDB
frames = [
    pl.scan_parquet(f"{url}{s}-00000-of-00001.parquet").with_columns(split=pl.lit(s)).collect() for s in ("test", "train")
]
texts = pl.col("captions").list.eval(pl.element().struct.field("text"))
print(json.dumps(pl.concat(frames).select("source", "source_key", "split", "image_id", texts).rows()))
"""
ARROW = """
import json, pyarrow.parquet as pq
from huggingface_hub import HfFileSystem
files = HfFileSystem()
rows = []
for path in files.glob("datasets/someone/small@v1.0.0/data/*.parquet"):
    with files.open(path) as file:
        for r in pq.read_table(file).drop_columns("image").to_pylist():
            split = path.split("/")[-1].split("-")[0]
            rows.append([r["source"], r["source_key"], split, r["image_id"], [c["text"] for c in r["captions"]]])
print(json.dumps(rows))
"""
DUCKDB = """
import duckdb, json, os
extension, = arguments
connection = duckdb.connect(config={"autoinstall_known_extensions": "false"})
connection.execute(f"LOAD '{extension}'")
url = os.environ["HF_ENDPOINT"] + "/datasets/someone/small/resolve/v1.0.0/data/"
rows = []
for split in ("test", "train"):
    query = "SELECT source, source_key, ?, image_id, list_transform(captions, lambda c: c.text) FROM read_parquet(?)"
    rows += connection.execute(query, [split, f"{url}{split}-00000-of-00001.parquet"]).fetchall()
print(json.dumps(rows))
"""


def test_every_reader_finds_the_rows_of_the_lake(
    hub: HubServer, client: Client, ready_lake: Path, pictures: dict[str, bytes]
) -> None:
    assert (
        client.run("publish", "small@1.0.0", "someone/small", "--lake", ready_lake, "--json").json["state"]
        == "published"
    )
    with Lake.open(ready_lake) as lake:
        rows = [[*row[:4], row[4] or []] for row in lake.rows(ROWS)]
        held = dict(
            lake.rows(
                "SELECT source_key, image_id FROM release_items JOIN sources USING (source) WHERE redistribute = 'bytes'"
            )
        )
    assert len(rows) == 7 and len(held) == 5
    found = client.run(code=DATASETS).json
    assert sorted(found["rows"]) == rows and found["held"] == held
    assert sorted(client.run(code=ARROW).json) == rows
    assert sorted(client.run(code=POLARS).json) == rows


def test_datasets_decodes_the_pictures(hub: HubServer, client: Client, ready_lake: Path) -> None:
    client.run("publish", "small@1.0.0", "someone/small", "--lake", ready_lake, "--json")
    for source, right in client.run(code=DECODED).json:
        assert right == (None if source == "web" else [True])


def test_duckdb_reads_it_over_http(hub: HubServer, client: Client, ready_lake: Path) -> None:
    pytest.importorskip("duckdb_extension_httpfs")
    client.run("publish", "small@1.0.0", "someone/small", "--lake", ready_lake, "--json")
    with Lake.open(ready_lake) as lake:
        rows = [[*row[:4], row[4] or []] for row in lake.rows(ROWS)]
    found = json.loads(client.run(extension_path("httpfs"), code=DUCKDB).stdout)
    assert sorted(found) == rows
    assert [line for line in hub.requests if line.startswith("GET /cdn/")], "by ranges of the files"
