"""Peak memory of an ingest from loopback as the number of pictures grows: it should stay flat.

Prints the largest resident size of any one process (the program, or a process of img2dataset) for each count, and the ratio of the
last to the first.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from pictures import served, write_crops

from captionlake.lake import Lake

INGEST = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, capture_output=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def peak(folder: Path, listed: Path) -> int:
    """Bytes."""
    Lake.init(folder).close()
    program = str(Path(sys.executable).with_name("captionlake"))
    command = [program, "ingest", "web", str(listed), "--lake", str(folder), "--allow-private-hosts"]
    done = subprocess.run([sys.executable, "-c", INGEST, *command], check=True, capture_output=True, text=True)
    return int(done.stdout) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[2_000, 4_000, 8_000])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        write_crops(root / "pictures", max(options.counts))
        with served(root / "pictures") as base:
            peaks = []
            for count in options.counts:
                listed = root / f"list-{count}.csv"
                listed.write_text("url\n" + "\n".join(f"{base}/{number}.jpg" for number in range(count)) + "\n")
                peaks.append(peak(root / f"lake-{count}", listed))
                print(f"{count:,} pictures: {peaks[-1] / 2**20:.0f} MiB")
        print(f"ratio of the last to the first: {peaks[-1] / peaks[0]:.2f}")


if __name__ == "__main__":
    main()
