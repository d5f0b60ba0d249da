"""Bytes a row takes in a lake's tables: rows made at random, in the forms and lengths of real ones. Pictures take what they take.

python benchmarks/sizes.py [--rows N]
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa

from captionlake.lake import Lake
from captionlake.lake.place import catalog_of

IMAGES = """INSERT INTO images BY NAME SELECT 'coco' AS source, lpad(i::VARCHAR, 12, '0') || '.jpg' AS source_key, 'coco' AS collection,
sha256(i::VARCHAR) AS image_id, 'http://images.cocodataset.org/train2017/' || lpad(i::VARCHAR, 12, '0') || '.jpg' AS url,
'Attribution License' AS license, 640 AS width, 480 AS height, 'JPEG' AS format, 1 AS orientation, 4 / 3 AS aspect_ratio, false AS is_gray,
false AS is_blank, 'en' AS alt_language, 50000 + hash(i) % 200000 AS n_bytes, hash(i + 1) AS phash,
'shard-' || lpad((i // 1000)::VARCHAR, 6, '0') || '.parquet' AS shard, (i % 1000)::INT AS "row", i * 160000 AS "offset",
now() AS ingested_at FROM range(?) t(i)"""
CAPTIONS = """INSERT INTO captions BY NAME SELECT sha256('c' || i)[:32] AS caption_id, sha256(i::VARCHAR) AS image_id, 'teacher' AS kind,
'gpt4-vision' AS producer, "text", length("text") AS chars, 150 AS words, now() AS created_at FROM _texts"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    rows: int = parser.parse_args().rows
    chance = np.random.default_rng(0)
    words = np.array([f"{'aeiou'[n % 5]}{n:x}n" for n in range(5000)])  # of some five letters, as in English
    drawn = words[np.minimum(chance.zipf(1.3, size=(rows, 150)) - 1, len(words) - 1)]
    texts = pa.table({"i": range(rows), "text": [" ".join(row) for row in drawn]})
    vectors = chance.normal(size=(rows, 768)).astype(np.float32)
    embeddings = pa.table(
        {
            "image_id": [f"{n:064x}" for n in range(rows)],
            "model_id": ["ViT-L-14-336"] * rows,
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 768).cast(pa.list_(pa.float32())),
        }
    )
    with tempfile.TemporaryDirectory() as folder, Lake.init(Path(folder) / "lake") as lake:
        lake.commit(lambda c: c.execute(IMAGES, [rows]).fetchall())
        lake.commit(lambda c: c.execute(CAPTIONS).fetchall(), _texts=texts)
        lake.append("embeddings", embeddings, ["image_id", "model_id"])
        print(f"{rows:,} rows a table, bytes a row:")
        for table in ("images", "captions", "embeddings"):
            files = (lake.path / "data" / "main" / table).rglob("*.parquet")
            print(f"  {table:10} {sum(path.stat().st_size for path in files) / rows:,.0f}")
        print(f"catalog {catalog_of(lake.path).n_bytes():,} bytes in all")


if __name__ == "__main__":
    main()
