"""Ingest of pictures at hand (folder, zip, tar, Parquet) against img2dataset fetching the same pictures from loopback.

Both decode every picture and run as whole processes, in turn. img2dataset runs in two ways: with its default
re-encoding (``resize_mode="no"``), and with ``disable_all_reencoding=True`` and one Pillow decode of each picture after
it, as in ingest.py; the ratio is to the faster of the two. Prints pictures per second of each run, the median ratio of each
form, and the peak memory of an ingest of half and of all of the pictures. Goals: 3 or more; a ratio of the peaks near 1.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from ingest import PEER, theirs
from memory import INGEST
from pictures import served, write_crops

from captionlake.lake import Lake

REENCODING = PEER.replace("disable_all_reencoding=True, ", "").split("    import pyarrow")[0] + (
    "    import pyarrow.parquet as pq\n"
    '    print(sum(pq.ParquetFile(path).metadata.num_rows for path in Path(told["out"]).glob("*.parquet")))\n'
)
PER_SHARD = 1000


def command(lake: Path, arguments: list[str]) -> list[str]:
    """A whole process of ``captionlake ingest`` into a new lake, which is made before the clock runs."""
    Lake.init(lake).close()
    program = str(Path(sys.executable).with_name("captionlake"))
    return [program, "ingest", *arguments, "--lake", str(lake), "--json"]


def ours(lake: Path, arguments: list[str], expected: int) -> float:
    """Seconds."""
    told = command(lake, arguments)
    started = time.perf_counter()
    done = subprocess.run(told, check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    assert json.loads(done.stdout)["images"] == expected, done.stdout
    return seconds


def peak(lake: Path, arguments: list[str]) -> int:
    """Bytes."""
    told = [sys.executable, "-c", INGEST, *command(lake, arguments)]
    return int(subprocess.run(told, check=True, capture_output=True, text=True).stdout) * 1024


def folder(pictures: list[Path], target: Path) -> list[str]:
    target.mkdir()
    for path in pictures:
        (target / path.name).hardlink_to(path)
    return ["folder", str(target)]


def in_zip(pictures: list[Path], target: Path) -> list[str]:
    """A zip as COCO's: stored, and its captions file (texts made up)."""
    target.mkdir()
    with zipfile.ZipFile(target / "pictures.zip", "w") as file:
        for path in pictures:
            file.write(path, f"pictures/{path.name}")
    images = [{"id": number, "file_name": path.name} for number, path in enumerate(pictures)]
    texts = [{"id": n, "image_id": n, "caption": f"Picture {n} of a benchmark"} for n in range(len(pictures))]
    (target / "captions.json").write_text(json.dumps({"images": images, "annotations": texts}))
    return ["coco", str(target / "captions.json"), "--archive", str(target / "pictures.zip")]


def in_tars(pictures: list[Path], target: Path) -> list[str]:
    """Tars as img2dataset's form webdataset has them, without their tables."""
    target.mkdir()
    for first in range(0, len(pictures), PER_SHARD):
        with tarfile.open(target / f"{first // PER_SHARD:05d}.tar", "w") as file:
            for number, path in enumerate(pictures[first : first + PER_SHARD]):
                file.add(path, f"{first // PER_SHARD:05d}{number:04d}.jpg")
    return ["img2dataset", str(target)]


def in_parquet(pictures: list[Path], target: Path) -> list[str]:
    """Parquet files in the image form of the Hugging Face Hub."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    target.mkdir()
    files = []
    for first in range(0, len(pictures), PER_SHARD):
        rows = [{"bytes": path.read_bytes(), "path": path.name} for path in pictures[first : first + PER_SHARD]]
        files.append(target / f"train-{first // PER_SHARD:05d}.parquet")
        pq.write_table(pa.table({"image": rows}), files[-1], row_group_size=100)
    return ["hf", *map(str, files)]


FORMS: dict[str, Callable[[list[Path], Path], list[str]]] = {
    "folder": folder,
    "zip": in_zip,
    "tar": in_tars,
    "parquet": in_parquet,
}


def speed(root: Path, pictures: list[Path], runs: int, forms: list[str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    count = len(pictures)
    told = {form: FORMS[form](pictures, root / form) for form in forms}
    (root / "decoding.py").write_text(PEER)
    (root / "reencoding.py").write_text(REENCODING)
    ratios: dict[str, list[float]] = {form: [] for form in forms}
    with served(pictures[0].parent) as base:
        pq.write_table(pa.table({"url": [f"{base}/{path.name}" for path in pictures]}), root / "urls.parquet")
        for run in range(runs):
            plain = theirs(root / f"plain-{run}", root / "reencoding.py", root / "urls.parquet", count)
            other = theirs(root / f"peer-{run}", root / "decoding.py", root / "urls.parquet", count)
            print(
                f"run {run + 1}: img2dataset {count / plain:.0f}/s, without re-encoding + decode {count / other:.0f}/s"
            )
            for form in forms:
                own = ours(root / f"lake-{form}-{run}", told[form], count)
                ratios[form].append(min(plain, other) / own)
                print(f"run {run + 1}: captionlake from {form} {count / own:.0f}/s, ratio {ratios[form][-1]:.2f}")
    for form in forms:
        print(f"{form}: median ratio {statistics.median(ratios[form]):.2f} (goal: 3 or more)")


def memory(root: Path, pictures: list[Path], forms: list[str]) -> None:
    for form in forms:
        peaks = [
            peak(
                root / f"memory-{form}-{part}", FORMS[form](pictures[: len(pictures) // part], root / f"{form}-{part}")
            )
            for part in (2, 1)
        ]
        shown = ", ".join(f"{size / 2**20:.0f} MiB" for size in peaks)
        print(f"{form}: peak memory of half and of all {shown}, ratio {peaks[1] / peaks[0]:.2f} (goal: under 1500 MiB)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=5000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--forms", nargs="+", choices=list(FORMS), default=list(FORMS))
    parser.add_argument("--only", choices=["speed", "memory"], help="one of the two parts")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        size = write_crops(root / "pictures", options.pictures)
        pictures = [root / "pictures" / f"{number}.jpg" for number in range(options.pictures)]
        print(f"{options.pictures:,} JPEGs of {size / options.pictures / 1000:.0f} kB")
        if options.only != "memory":
            speed(root, pictures, options.runs, options.forms)
        if options.only != "speed":
            memory(root, pictures, options.forms)


if __name__ == "__main__":
    main()
