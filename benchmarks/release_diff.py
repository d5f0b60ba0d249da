"""Two releases of 1.14 million rows compared, in a made-up lake of 1.2 million rows and twice as many captions, by a whole command.

One row in twenty is in one of the two alone, one in ten has another caption in the second, one in fifty another split.
"""

import argparse
import tempfile
from pathlib import Path

from measure import command

from captionlake.lake import Lake

FILL = """
INSERT INTO images (source, source_key, collection, image_id, width, height, format, orientation, n_bytes, phash, shard, "row",
    "offset", ingested_at)
    SELECT 's' || i % 5, 'key/' || i, 'c' || i % 5, sha256(i::VARCHAR), 1, 1, 'JPEG', 1, 1, 0, 'none', 0, 0, now() FROM range({rows}) t(i);
INSERT INTO captions (caption_id, image_id, source, source_key, kind, producer, text, chars, words, created_at)
    SELECT md5(p || i), sha256(i::VARCHAR), 's' || i % 5, 'key/' || i, 'teacher', p, repeat('word ', 160) || i, 800, 160, now()
    FROM range({rows}) t(i), (VALUES ('a'), ('b')) v(p);
"""
RELEASE = """
INSERT INTO release_items SELECT 'made', '{version}', i, 's' || i % 5, 'key/' || i, sha256(i::VARCHAR), NULL, {split},
    md5({by} || i || {split}) FROM range({rows}) t(i) WHERE i % 20 <> {without};
INSERT INTO release_captions SELECT 'made', '{version}', i, 0, md5({by} || i), 'teacher' FROM range({rows}) t(i) WHERE i % 20 <> {without};
INSERT INTO exclusions SELECT 'made', '{version}', 's' || i % 5, 'key/' || i, 'over_quota', NULL, NULL, NULL, NULL
    FROM range({rows}) t(i) WHERE i % 20 = {without};
INSERT INTO releases SELECT 'made', '{version}', 'images', {snapshot}, '', '', '{version}', count(*), '{parent}', 'valid', now()
    FROM release_items WHERE version = '{version}';
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_200_000)
    rows = parser.parse_args().rows
    first = {"version": "1.0.0", "split": "'train'", "by": "'a'", "without": 0, "parent": ""}
    second = {"version": "1.1.0", "without": 1, "parent": "made@1.0.0"}
    second |= {"split": "if(i % 50 = 0, 'test', 'train')", "by": "if(i % 10 = 3, 'b', 'a')"}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "lake"
        with Lake.init(folder) as lake:
            commit(lake, FILL.format(rows=rows))
            pinned = lake.snapshot()
            for told in (first, second):
                commit(lake, RELEASE.format(rows=rows, snapshot=pinned, **told))
        for arguments in (["diff", "made@1.1.0"], ["gc", "--dry-run"], ["gc", "--keep-days", "0"]):
            ran = command("release", *arguments, "--lake", str(folder))
            print(f"release {' '.join(arguments)}: {ran.seconds:.1f} s, {ran.memory:,.0f} MB of memory", flush=True)


def commit(lake: Lake, query: str) -> None:
    lake.commit(lambda connection: connection.execute(query))


if __name__ == "__main__":
    main()
