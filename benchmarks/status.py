"""``open``, ``status`` and a count per source over a lake of 1.2 million rows of ``images``. Goals: each under 0.5 s.

The rows are made up (no pictures behind them): four sources, one caption each and, with ``--embeddings``, a vector of 4 numbers each.
They are committed 12,000 at a time, so the lake has the files and snapshots that an ingest leaves.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import median

from captionlake.lake import Lake
from captionlake.lake.lake import insert_new
from captionlake.lake.status import status

BATCH = 12_000
ROWS = {
    "images": """SELECT 'source' || (i % 4) AS source, i::VARCHAR AS source_key, 'c' || (i % 4) AS collection,
        sha256(i::VARCHAR) AS image_id, 'http://host/' || i AS url, 640 AS width, 480 AS height, 'JPEG' AS format, 1 AS orientation,
        100000 AS n_bytes, hash(i) AS phash, 'shard-000001.parquet' AS shard, 0 AS "row", 0 AS "offset", '{}' AS meta,
        now() AS ingested_at FROM range(?, ?) t(i)""",
    "captions": """SELECT md5(i::VARCHAR) AS caption_id, sha256(i::VARCHAR) AS image_id, 'source' || (i % 4) AS source,
        i::VARCHAR AS source_key, 'human' AS kind, 'source' AS producer, repeat('word ', 10) AS text, 50 AS chars, 10 AS words,
        now() AS created_at FROM range(?, ?) t(i)""",
    "embeddings": "SELECT sha256(i::VARCHAR) AS image_id, 'm' AS model_id, [0.5, 0.5, 0.5, 0.5]::FLOAT[] AS vector FROM range(?, ?) t(i)",
}


def fill(lake: Lake, count: int, tables: list[str]) -> None:
    """Commit the rows in batches, as ingest does."""
    for first in range(0, count, BATCH):
        last = min(first + BATCH, count)

        def change(connection: object, first: int = first, last: int = last) -> None:
            for table in tables:
                lake.connection.execute(f"CREATE OR REPLACE TEMP TABLE made AS {ROWS[table]}", [first, last])
                insert_new(lake.connection, table, "made", ["image_id"])

        lake.commit(change)
    lake.commit(
        lambda connection: connection.execute(
            "INSERT INTO sources BY NAME SELECT DISTINCT source, collection, 'urls' AS redistribute FROM images"
        )
    )
    lake.merge_small_files()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_200_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "lake"
        with Lake.init(folder) as lake:
            started = time.perf_counter()
            fill(lake, options.rows, list(ROWS))
            print(
                f"{options.rows:,} rows of images, captions and embeddings made in {time.perf_counter() - started:.0f} s"
            )

        def opened() -> None:
            Lake.open(folder).close()

        def command() -> None:
            program = str(Path(sys.executable).with_name("captionlake"))
            subprocess.run([program, "status", "--lake", str(folder)], check=True, capture_output=True)

        print(f"open a lake: {median(opened):.2f} s (goal: under 0.5)")
        with Lake.open(folder) as lake:
            print(
                f"count per source: {median(lambda: lake.rows('SELECT source, count(*) FROM images GROUP BY 1')):.3f} s (goal: under 0.5)"
            )
            print(f"status: {median(lambda: status(lake)):.2f} s (goal: under 0.5)")
        print(f"captionlake status, the whole process: {median(command):.2f} s")


if __name__ == "__main__":
    main()
