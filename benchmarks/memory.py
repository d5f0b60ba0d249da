"""Peak memory of an ingest from loopback as the number of pictures grows, and of a plan as its list grows: both should stay flat.

Prints the largest resident size of any one process (the program, or a process of img2dataset) for each count, and the ratio of the
last to the first. The lists to plan have the form of CC3M and made-up rows.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import annotations
from pictures import served, write_crops

from captionlake.lake import Lake

INGEST = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, capture_output=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def peak(folder: Path, *arguments: str) -> int:
    """Bytes, of ``captionlake ingest`` into a new lake."""
    Lake.init(folder).close()
    program = str(Path(sys.executable).with_name("captionlake"))
    command = [program, "ingest", *arguments, "--lake", str(folder)]
    done = subprocess.run([sys.executable, "-c", INGEST, *command], check=True, capture_output=True, text=True)
    return int(done.stdout) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[2_000, 4_000, 8_000])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_200_000, 4_800_000], help="of the lists to plan")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        write_crops(root / "pictures", max(options.counts))
        with served(root / "pictures") as base:
            peaks = []
            for count in options.counts:
                listed = root / f"list-{count}.csv"
                listed.write_text("url\n" + "\n".join(f"{base}/{number}.jpg" for number in range(count)) + "\n")
                peaks.append(peak(root / f"lake-{count}", "web", str(listed), "--allow-private-hosts"))
                print(f"{count:,} pictures: {peaks[-1] / 2**20:.0f} MiB")
        print(f"ratio of the last to the first: {peaks[-1] / peaks[0]:.2f}")
        peaks = []
        for rows in options.rows:
            folder = root / f"rows-{rows}"
            folder.mkdir()
            (written,) = annotations.write("cc3m", folder, rows)
            peaks.append(peak(folder / "lake", "cc3m", str(written), "--plan"))
            print(f"plan of {rows:,} rows: {peaks[-1] / 2**20:.0f} MiB")
        print(f"ratio of the last to the first: {peaks[-1] / peaks[0]:.2f}")


if __name__ == "__main__":
    main()
