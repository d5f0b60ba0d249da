"""A takedown of one picture in lakes of 12,000, 120,000 and 1.2 million rows: its time, and the files that it wrote.

    python benchmarks/takedown.py
    python benchmarks/takedown.py --rows 12000 120000

The lake is that of benchmarks/captions.py (no pictures lie behind its rows) with one shard of a thousand real ones, of which one is taken
down, and a release of all. Bytes are those of new files in the lake, without the catalog's own, which is packed anew as a whole: SQLite
keeps what was deleted in free pages otherwise.
"""

import argparse
import json
import tempfile
from pathlib import Path

from captions import RELEASE, fill, vocabulary
from measure import command
from teacher import fill as fill_pictures

from captionlake.lake import Lake

PICTURES = 1000


def sizes(folder: Path) -> dict[Path, int]:
    """Files by their size."""
    return {path: path.stat().st_size for path in folder.rglob("*") if path.is_file() and "catalog" not in path.name}


def run(rows: int) -> dict[str, float | int]:
    """One takedown in a new lake."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "lake"
        with Lake.init(folder) as lake:
            fill(lake, rows, vocabulary())
            fill_pictures(lake, PICTURES, 160)
            lake.commit(lambda connection: connection.execute(RELEASE.format(rows=rows)))
            image_id = lake.value("SELECT image_id FROM images WHERE source = 'made' AND source_key = '500'")
        before = sizes(folder)
        ran = command("takedown", "--image-id", image_id, "--reason", "asked", "--yes", "--lake", str(folder))
        after = sizes(folder)
        new = {path: size for path, size in after.items() if path not in before}
        shards = {path for path in (*new, *before) if "images" in path.relative_to(folder).parts}
        return {
            "rows": rows + PICTURES,
            "seconds": round(ran.seconds, 1),
            "memory_mb": round(ran.memory),
            "shards_before": sum(path in before for path in shards),
            "shards_written": sum(path in new for path in shards),
            "table_files_written": len(new) - sum(path in new for path in shards),
            "table_mb_written": round(sum(size for path, size in new.items() if path not in shards) / 1e6, 1),
            "lake_mb": round(sum(after.values()) / 1e6),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[12_000, 120_000, 1_200_000])
    for rows in parser.parse_args().rows:
        print(json.dumps(run(rows)), flush=True)


if __name__ == "__main__":
    main()
