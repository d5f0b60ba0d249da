"""Ingest of loopback pictures against plain img2dataset with the same options and one decode of each picture.

Prints the ratio of pictures per second, ours over theirs, for each of the runs in turn, and the median. Goal: 0.9 or more.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from pictures import served, write_crops

from captionlake.lake import Lake
from captionlake.lake.guard import FetchPolicy

PEER = """
import io, json, os, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
from img2dataset import download

def decode(data):
    from PIL import Image
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image.size

if __name__ == "__main__":
    told = json.loads(sys.argv[1])
    download(url_list=told["urls"], output_folder=told["out"], input_format="parquet", url_col="url",
             output_format="parquet", resize_mode="no", disable_all_reencoding=True, compute_hash="sha256",
             processes_count=told["processes"], thread_count=told["threads"], number_sample_per_shard=1000, retries=0)
    import pyarrow.parquet as pq
    count = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for path in sorted(Path(told["out"]).glob("*.parquet")):
            for batch in pq.ParquetFile(path).iter_batches(100, columns=["jpg"]):
                count += len(list(pool.map(decode, batch.column(0).to_pylist())))
    print(count)
"""


def ours(folder: Path, listed: Path, expected: int) -> float:
    """Seconds of ``captionlake ingest web``, the process's start included; the lake is made before."""
    Lake.init(folder).close()
    started = time.perf_counter()
    command = [str(Path(sys.executable).with_name("captionlake")), "ingest", "web", str(listed)]
    command += ["--lake", str(folder), "--allow-private-hosts", "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    assert json.loads(done.stdout)["images"] == expected, done.stdout
    return seconds


def theirs(folder: Path, script: Path, urls: Path, expected: int) -> float:
    """Seconds of img2dataset and the decode, the process's start included."""
    policy = asdict(FetchPolicy())
    told = {"urls": str(urls), "out": str(folder), "processes": policy["processes"], "threads": policy["threads"]}
    started = time.perf_counter()
    done = subprocess.run([sys.executable, str(script), json.dumps(told)], check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    assert int(done.stdout.split()[-1]) == expected, done.stdout
    return seconds


def main() -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=5000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        size = write_crops(root / "pictures", options.pictures)
        print(f"{options.pictures:,} JPEGs of {size / options.pictures / 1000:.0f} kB on loopback")
        (root / "peer.py").write_text(PEER)
        with served(root / "pictures") as base:
            urls = [f"{base}/{number}.jpg" for number in range(options.pictures)]
            pq.write_table(pa.table({"url": urls}), root / "urls.parquet")
            (root / "list.csv").write_text("url\n" + "\n".join(urls) + "\n")
            ratios = []
            for run in range(options.runs):
                other = theirs(root / f"peer-{run}", root / "peer.py", root / "urls.parquet", options.pictures)
                own = ours(root / f"lake-{run}", root / "list.csv", options.pictures)
                ratios.append(other / own)
                print(
                    f"run {run + 1}: img2dataset + decode {options.pictures / other:.0f}/s, "
                    f"captionlake ingest {options.pictures / own:.0f}/s, ratio {ratios[-1]:.2f}"
                )
        print(f"median ratio {statistics.median(ratios):.2f} (goal: 0.90 or more)")


if __name__ == "__main__":
    main()
