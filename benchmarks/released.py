"""ShareGPT4V's released captions joined onto a lake of as many pictures: rows a second and the largest memory of the process.

Both sides are made up: the lake has rows of ``images`` without pictures behind them, the file is of Share-Captioner's form with captions of
about 900 characters. A whole process of ``captionlake ingest sharegpt4v`` is run. Goal: under 1.5 GB.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import annotations
from memory import INGEST

from captionlake.lake import Lake

BATCH = 50_000
ROWS = """SELECT collection AS source, CASE collection WHEN 'lcs' THEN '00453/' || name ELSE name END AS source_key, collection,
    sha256(i::VARCHAR) AS image_id, 640 AS width, 480 AS height, 'JPEG' AS format, 1 AS orientation, 100000 AS n_bytes, hash(i) AS phash,
    'shard-000001.parquet' AS shard, 0 AS "row", 0 AS "offset", '{}' AS meta, now() AS ingested_at
    FROM (SELECT i, format('{:012d}.jpg', i) AS name, ['coco', 'lcs', 'sam'][1 + i % 3] AS collection FROM range(?, ?) t(i))"""


def fill(folder: Path, rows: int) -> None:
    """A row of ``images`` for each row of the file."""
    with Lake.init(folder) as lake:
        for first in range(0, rows, BATCH):
            span = [first, min(first + BATCH, rows)]
            lake.commit(lambda connection, span=span: connection.execute(f"INSERT INTO images BY NAME {ROWS}", span))  # type: ignore[misc]
        lake.merge_small_files()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_200_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        (listed,) = annotations.write("sharegpt4v", root, options.rows)
        fill(root / "lake", options.rows)
        program = str(Path(sys.executable).with_name("captionlake"))
        command = [program, "ingest", "sharegpt4v", str(listed), "--lake", str(root / "lake"), "--json"]
        started = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", INGEST, *command], check=True, capture_output=True, text=True)
        seconds = time.perf_counter() - started
        with Lake.open(root / "lake") as lake:
            captions = int(lake.value("SELECT count(*) FROM captions"))
            told = json.loads(lake.value("SELECT counts FROM runs WHERE step = 'ingest'"))
        assert captions == options.rows == told["matched"], told
        rate, peak = options.rows / seconds, int(done.stdout) / 1024
        print(f"{options.rows:,} rows, all matched: {rate:,.0f} rows/s, peak {peak:,.0f} MiB (goal: under 1,431)")


if __name__ == "__main__":
    main()
