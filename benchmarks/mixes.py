"""LLaVA's mix at full size, in and out: rows a second, memory, and megabytes a second of JSON.

665,298 made-up rows in the official form (``--more``: how many further questions two rows in three have), a lake with 102,025
captions as a release (rows of images without pictures behind them). Each step is a process of its own, whose largest memory is told:
import, export of what was imported, the recipe that puts all captions in (the paper's arithmetic: 665,298 - 23,240 + 102,025 =
744,083), and the exports of the mix and of the captions. Beside each export stands the time of a plain copy of its file.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the tests' official forms

from measure import command, rate

from captionlake.lake import Lake
from captionlake.lake.sources.json_items import json_items
from tests.official import mix as official

CAPTIONS = 102_025
FILL = """
INSERT INTO images BY NAME SELECT collection AS source, format('{{:012d}}.jpg', i) AS source_key, collection,
    sha256(i::VARCHAR) AS image_id, 640 AS width, 480 AS height, 'JPEG' AS format, 1 AS orientation, 1 AS n_bytes, 0 AS phash,
    'none' AS shard, 0 AS "row", 0 AS "offset", now() AS ingested_at
    FROM (SELECT i, ['coco', 'lcs', 'sam'][1 + i % 3] AS collection FROM range({rows}) t(i));
INSERT INTO captions BY NAME SELECT md5(i::VARCHAR) AS caption_id, sha256(i::VARCHAR) AS image_id, 'teacher' AS kind,
    'gpt4-vision' AS producer, 'Caption ' || i || ' ' || repeat('that is made up ', 40 + i % 35) AS text, length(text) AS chars,
    200 AS words, now() AS created_at FROM range({rows}) t(i);
INSERT INTO releases BY NAME SELECT 'sharegpt4v' AS name, '1.0.0' AS version, 'images' AS kind,
    (SELECT id FROM ducklake_current_snapshot('lake')) + 1 AS snapshot_id, '' AS recipe, '' AS recipe_sha256, '' AS content_sha256,
    {rows} AS n_items, 'valid' AS state, now() AS created_at;
INSERT INTO release_items BY NAME SELECT 'sharegpt4v' AS name, '1.0.0' AS version, row_number() OVER (ORDER BY source, source_key) - 1
    AS position, source, source_key, image_id, 'train' AS split, '' AS row_sha256 FROM images;
INSERT INTO release_captions BY NAME SELECT name, version, position, 0 AS ordinal, caption_id, 'teacher' AS role
    FROM release_items JOIN captions USING (image_id);
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=int, default=1, help="1 : SCALE of the rows")
    parser.add_argument(
        "--more", type=int, default=12, help="further questions of two rows in three; 12 make a file of about 1 GB"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        rows = sum(official.lay_out(root / "data/llava", options.scale, more=options.more).values())
        base = root / "data/llava" / official.BASE
        captions = CAPTIONS // options.scale
        with Lake.init(root / "lake") as lake:
            lake.commit(lambda connection: connection.execute(FILL.format(rows=captions)))
        lake_option = ("--lake", str(root / "lake"))
        size = base.stat().st_size / 1e6

        ran = command("conversations", "import", str(base), *lake_option)
        print(
            f"import: {rows:,} rows, {size:,.0f} MB: {rows / ran.seconds:,.0f} rows/s, {ran.memory:,.0f} MB (goal: under 1,000)"
        )

        ran = command("conversations", "export", base.name, str(root / "out.json"), *lake_option)
        print(f"export of what was imported: {rate(root / 'out.json', ran)}", flush=True)
        same = all(a == b for a, b in zip(_rows(base), _rows(root / "out.json"), strict=True))
        print(f"  the same values in the same order: {same}", flush=True)

        recipe = root / "recipe.toml"
        text = (Path(__file__).parents[1] / "recipes/sft-sharegpt4v-100k.toml").read_text()
        recipe.write_text(text)
        ran = command("mix", str(recipe))
        label = "sft-sharegpt4v-100k@1.0.0"
        wanted = rows - official.PARTS["detail"] // options.scale + captions
        with Lake.open(root / "lake") as lake:
            items = lake.value("SELECT n_items FROM releases WHERE kind = 'sft'")
        print(f"mix: {items:,} rows (reckoned: {wanted:,}) in {ran.seconds:.1f} s, {ran.memory:,.0f} MB")

        for form in ("sharegpt4v-json",):
            ran = command("release", "export", label, str(root / form), "--to", form, *lake_option)
            (written,) = (root / form).iterdir()
            print(f"export of the mix as {form}: {rate(written, ran)}", flush=True)
        ran = command(
            "release", "export", "sharegpt4v@1.0.0", str(root / "images"), "--to", "sharegpt4v-json", *lake_option
        )
        (written,) = (root / "images").iterdir()
        print(f"export of {captions:,} captions: {rate(written, ran)}", flush=True)


def _rows(path: Path) -> Iterator[object]:
    return (item for _, item in json_items(path, ""))


if __name__ == "__main__":
    main()
