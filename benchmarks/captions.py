"""SQL, JSON export and ranked search over 1.2 million made-up captions of 826 characters: how long an answer takes.

    python benchmarks/captions.py
    python benchmarks/captions.py --rows 100000

Words are drawn by Zipf's law from 50,000 made-up ones of five to ten letters, "the", "a" and "of" the most frequent; there are no
pictures behind the rows. Medians of 7, after one that does not count; an export is a whole command, with its start. Its rows lie in
another order than the captions in the lake. Goals at 1.2 million: text filtered in 2 s, joined with images and grouped in 1 s, JSON at
100 MB/s in under 1 GB of memory, a ranked search in 50 ms.
"""

import argparse
import resource
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from measure import command, median, rate

from captionlake.curation.caption_index import caption_index, index_path
from captionlake.curation.search import search_text
from captionlake.lake import Lake

BATCH = 50_000
CHARACTERS = 826  # ShareGPT4V-PT's mean
IMAGES = """INSERT INTO lake.images BY NAME
SELECT 's' AS source, i::VARCHAR AS source_key, ['coco', 'lcs', 'sam'][1 + i % 3] AS collection, sha256(i::VARCHAR) AS image_id,
    640 AS width, 480 AS height, 'JPEG' AS format, 1 AS orientation, 100000 AS n_bytes, hash(i) AS phash,
    'shard-000001.parquet' AS shard, 0 AS "row", 0 AS "offset", '{}' AS meta, now() AS ingested_at
FROM range(?, ?) t(i)"""
CAPTIONS = """INSERT INTO lake.captions BY NAME
SELECT sha256('c' || i) AS caption_id, sha256(i::VARCHAR) AS image_id, 'captioner' AS kind, 'share-captioner' AS producer, text,
    length(text) AS chars, words, now() AS created_at
FROM _texts"""
RELEASE = """
INSERT INTO releases BY NAME SELECT 'made' AS name, '1.0.0' AS version, 'images' AS kind,
    (SELECT id FROM ducklake_current_snapshot('lake')) + 1 AS snapshot_id, '' AS recipe, '' AS recipe_sha256, '' AS content_sha256,
    {rows} AS n_items, 'valid' AS state, now() AS created_at;
INSERT INTO release_items BY NAME SELECT 'made' AS name, '1.0.0' AS version, row_number() OVER (ORDER BY source, source_key) - 1
    AS position, source, source_key, image_id, 'train' AS split, '' AS row_sha256 FROM images;
INSERT INTO release_captions BY NAME SELECT name, version, position, 0 AS ordinal, caption_id, 'captioner' AS role
    FROM release_items JOIN captions USING (image_id);
"""
FILTERS = {
    "contains, two words side by side": "contains(text, '{a} {b}')",
    "contains in any case": "contains(lower(text), '{a} {b}')",
    "a regular expression": r"regexp_matches(text, '\b{a} \w+ {b}\b')",
}
JOIN = """SELECT collection, count(*), avg(chars), quantile_cont(words, 0.5)
FROM captions JOIN images USING (image_id) WHERE producer = 'share-captioner' GROUP BY collection ORDER BY collection"""


def vocabulary() -> list[str]:
    """50,000 words, the most frequent first."""
    chance = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlcumwfgypbvk"))
    made = {"".join(chance.choice(letters, chance.integers(5, 11))) for _ in range(60_000)}
    return ["the", "a", "of", *sorted(made)[:49_997]]


def fill(lake: Lake, rows: int, words: list[str]) -> None:
    """So many pictures with a caption each."""
    shares = 1 / np.arange(1, len(words) + 1)
    edges = np.cumsum(shares / shares.sum())
    lengths = np.array([len(word) + 1 for word in words])
    each = round(CHARACTERS / float((lengths * shares / shares.sum()).sum()))
    known = np.array(words, dtype=object)
    for at in range(0, rows, BATCH):
        end = min(at + BATCH, rows)
        drawn = np.searchsorted(edges, np.random.default_rng(at).random((end - at, each))).clip(0, len(words) - 1)
        texts = [" ".join(row) for row in known[drawn]]
        table = pa.table({"i": np.arange(at, end), "text": texts, "words": np.full(end - at, each)})

        def change(connection: object, at: int = at, end: int = end) -> None:
            lake.connection.execute(IMAGES, [at, end])
            lake.connection.execute(CAPTIONS)

        with lake.registered(_texts=table):
            lake.commit(change)
    lake.merge_small_files()


def main() -> None:
    """Print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_200_000)
    options = parser.parse_args()
    words = vocabulary()
    with tempfile.TemporaryDirectory() as temporary, Lake.init(Path(temporary) / "lake") as lake:
        fill(lake, options.rows, words)
        mean = lake.value("SELECT avg(chars) FROM captions")
        print(f"{options.rows:,} captions of {mean:.0f} characters on average", flush=True)
        for name, condition in FILTERS.items():
            query = f"SELECT count(*) FROM captions WHERE {condition.format(a=words[20], b=words[40])}"
            took = median(partial(lake.value, query))
            print(f"  {name}: {lake.value(query):,} rows, {took:.2f} s", flush=True)
        print(f"  joined with images and grouped: {median(lambda: lake.rows(JOIN)):.2f} s", flush=True)
        lake.commit(lambda connection: connection.execute(RELEASE.format(rows=options.rows)))
        for form in ("sharegpt4v-json", "llava-json"):
            folder = Path(temporary) / form
            ran = command("release", "export", "made@1.0.0", str(folder), "--to", form, "--lake", str(lake.path))
            print(f"  {form}: {rate(folder / 'made-1.0.0.json', ran)}", flush=True)
        started = time.perf_counter()
        with caption_index(lake):
            pass
        size = sum(file.stat().st_size for file in index_path(lake.path).iterdir()) / 2**20
        print(f"  words indexed in {time.perf_counter() - started:.0f} s, {size:,.0f} MiB", flush=True)
        searches = {
            "a rare word": words[20_000],
            "two words of medium frequency": f"{words[500]} {words[1000]}",
            "five words with the most frequent": f"a {words[300]} of the {words[700]}",
            "a phrase": f'"{words[5]} {words[9]}"',
            "the two most frequent": "the a",
        }
        for name, text in searches.items():
            with caption_index(lake) as index:
                count = index.count(text)
            took = median(partial(search_text, lake, text))
            print(f"  ranked, {name} ({count:,} captions): {took * 1e3:.0f} ms", flush=True)
    print(
        f"largest memory of this process, mapped files included: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB"
    )


if __name__ == "__main__":
    main()
