"""ShareGPT4V-PT at full size: files of the official forms with 1.2 million small pictures, and every step of the work over them.

    python benchmarks/full_size.py                        # 12,000, 120,000 and 1.2 million pictures
    python benchmarks/full_size.py --rows 12000 --keep build/full-size

What is real: the forms of the files (COCO's annotations and zip, LLaVA's lists and zip, SA-1B's tars with an annotation beside each
picture, ShareGPT4V's released captions), their shares (118,287 to 558,128 to 570,486), lengths of captions (826 characters on average),
the commands. What is made up: texts, and embeddings, which have CLIP's statistics (benchmarks/vectors.py) and are put into the lake as
they are, since a model would take hours on two cores. Pictures are crops of photographs, 96 pixels wide, of which there are 2,000; each
is made different by four bytes after its end, which decoders skip.

Prints a line a step: seconds, largest memory (what is below 350 MB is this program's own), and the lake's megabytes after it; then, where
there are several sizes, how time grows from the one before the last to the last (1 is in proportion), and what that comes to at 12 million
and 1.2 billion.
"""

import argparse
import io
import itertools
import json
import math
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from measure import Ran, command
from pictures import photographs
from vectors import clip_like

from captionlake.lake import Lake

BASES, SIDE = 2000, 96
SHARES = {"coco": 118_287, "lcs": 558_128, "sam": 570_486}
PER_TAR = 11_186
MODEL, DIMENSIONS = "made-up:clip-like", 512
WORDS = [
    "a", "the", "of", "and", "with", "in", "on", "is", "picture", "shows", "person", "standing",
    "near", "tree", "street", "light", "colour", "left", "right", "behind", "small", "large",
]  # fmt: skip

RECIPE = """
lake = "lake"

[[ingest]]
source = "coco"
inputs = ["data/captions_train2017.json"]
archives = ["data/train2017.zip"]

[[ingest]]
source = "llava558k"
inputs = ["data/blip_laion_cc_sbu_558k.json", "data/blip_laion_cc_sbu_558k_meta.json"]
archives = ["data/images.zip"]

[[ingest]]
source = "sam"
inputs = [{tars}]

[[ingest]]
source = "sharegpt4v"
inputs = ["data/share-captioner_coco_lcs_sam_1246k_1107.json"]

[select]
duplicates = "keep"

[[select.quota]]
collection = "coco"
count = "all"

[[select.quota]]
collection = "lcs"
count = "all"

[[select.quota]]
collection = "sam"
count = "all"

[caption]
captioner = "source"

[release]
name = "pt"
version = "1.0.0"
"""


def bases() -> list[bytes]:
    """JPEGs of a few kilobytes."""
    chance, made, known = random.Random(0), [], photographs()
    for number in range(BASES):
        picture = known[number % len(known)].convert("RGB")
        wide = chance.randint(SIDE, min(picture.size))
        left, top = chance.randint(0, picture.width - wide), chance.randint(0, picture.height - wide)
        crop = picture.crop((left, top, left + wide, top + wide)).resize((SIDE, SIDE * 3 // 4))
        buffer = io.BytesIO()
        crop.save(buffer, "JPEG", quality=80)
        made.append(buffer.getvalue())
    return made


def text(chance: random.Random, characters: int) -> str:
    """Words, about so many characters."""
    return " ".join(chance.choices(WORDS, k=max(1, round(characters / 5.1))))


def joined(path: Path, rows: Iterator[object]) -> None:
    """A JSON list, a row at a time."""
    with path.open("w") as file:
        for number, row in enumerate(rows):
            file.write(("[" if not number else ",\n") + json.dumps(row))
        file.write("]")


class Files:
    """The files of a pool of ``rows`` pictures in ``folder``."""

    def __init__(self, folder: Path, rows: int) -> None:
        total = sum(SHARES.values())
        self._folder, self._bases, self._number = folder, bases(), itertools.count()
        self.counts = {name: round(rows * share / total) for name, share in SHARES.items()}
        folder.mkdir(parents=True)
        self.coco = [f"{9 + 16 * n:012d}.jpg" for n in range(self.counts["coco"])]
        numbers = [4_539_375 + 7 * n for n in range(self.counts["lcs"])]
        self.lcs = [f"{number // 1000:05d}/{number:09d}.jpg" for number in numbers]
        self.sam = [f"sa_{n}.jpg" for n in range(1, self.counts["sam"] + 1)]

    def picture(self) -> bytes:
        number = next(self._number)
        return self._bases[number % BASES] + number.to_bytes(4, "little")

    def write(self) -> None:
        """All of them."""
        self._coco()
        self._lcs()
        self._sam()
        chance = random.Random(1)
        folders = ("coco/train2017", "llava/llava_pretrain/images", "sam/images")
        paths = (
            f"{folder}/{name}"
            for folder, names in zip(folders, (self.coco, self.lcs, self.sam), strict=True)
            for name in names
        )
        rows = (
            {
                "id": Path(path).stem,
                "image": path,
                "conversations": [
                    {"from": "human", "value": "<image>\nWhat do you see?"},
                    {"from": "gpt", "value": text(chance, 826)},
                ],
            }
            for path in paths
        )  # fmt: skip
        joined(self._folder / "share-captioner_coco_lcs_sam_1246k_1107.json", rows)

    def _zip(self, name: str, members: Iterator[str]) -> None:
        with zipfile.ZipFile(self._folder / name, "w", zipfile.ZIP_STORED) as archive:
            for member in members:
                archive.writestr(member, self.picture())

    def _coco(self) -> None:
        chance = random.Random(2)
        images = [
            {
                "license": 4, "file_name": name, "coco_url": f"http://images.cocodataset.org/train2017/{name}", "height": SIDE * 3 // 4,
                "width": SIDE, "date_captured": "2013-11-14 11:18:45", "flickr_url": "http://farm3.staticflickr.com/1_z.jpg",
                "id": int(name[:12]),
            }
            for name in self.coco
        ]  # fmt: skip
        captions = [
            {"image_id": image["id"], "id": 5 * number + nth, "caption": text(chance, 52)}
            for number, image in enumerate(images)
            for nth in range(5)
        ]
        licence = {"url": "http://creativecommons.org/licenses/by/2.0/", "id": 4, "name": "Attribution License"}
        document = {"info": {"year": 2017}, "licenses": [licence], "images": images, "annotations": captions}
        (self._folder / "captions_train2017.json").write_text(json.dumps(document))
        self._zip("train2017.zip", (f"train2017/{name}" for name in self.coco))

    def _lcs(self) -> None:
        def rows(meta: bool) -> Iterator[object]:
            chance = random.Random(3)
            for path in self.lcs:
                key, said = Path(path).stem, text(chance, 60)
                if meta:
                    yield {"id": key, "image": path, "url": f"https://pictures.invalid/{key}.jpg", "blip_caption": said}
                else:
                    asked = {"from": "human", "value": "<image>\nWrite a terse but informative summary."}
                    yield {"id": key, "image": path, "conversations": [asked, {"from": "gpt", "value": said}]}

        joined(self._folder / "blip_laion_cc_sbu_558k.json", rows(meta=False))
        joined(self._folder / "blip_laion_cc_sbu_558k_meta.json", rows(meta=True))
        self._zip("images.zip", iter(self.lcs))

    def _sam(self) -> None:
        for number in range(-(-len(self.sam) // PER_TAR)):
            with tarfile.open(self._folder / f"sa_{number:06d}.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
                for name in self.sam[number * PER_TAR : (number + 1) * PER_TAR]:
                    image = {"image_id": int(name[3:-4]), "width": SIDE, "height": SIDE * 3 // 4, "file_name": name}
                    annotation = json.dumps({"image": image, "annotations": []}).encode()
                    for member, data in ((name, self.picture()), (f"{name[:-4]}.json", annotation)):
                        header = tarfile.TarInfo(f"./{member}")
                        header.size = len(data)
                        archive.addfile(header, io.BytesIO(data))


def embed(lake: Lake) -> None:
    """Made-up vectors for all pictures."""
    ids = lake.arrow("SELECT DISTINCT image_id FROM images ORDER BY 1")["image_id"].combine_chunks()
    vectors = clip_like(len(ids), DIMENSIONS)
    for at in range(0, len(ids), 100_000):
        part = np.ascontiguousarray(vectors[at : at + 100_000])
        lists = pa.ListArray.from_arrays(
            pa.array(np.arange(0, part.size + 1, DIMENSIONS, dtype=np.int32)), pa.array(part.reshape(-1))
        )
        rows = pa.table({"image_id": ids[at : at + 100_000], "vector": lists})
        with lake.registered(_made=rows):
            lake.commit(
                lambda connection: connection.execute(
                    f"INSERT INTO embeddings BY NAME SELECT image_id, '{MODEL}' AS model_id, vector FROM _made"
                ).fetchone()
            )


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def work(root: Path, rows: int) -> dict[str, dict[str, float]]:
    """Each step's seconds, memory and the lake's megabytes."""
    done: dict[str, dict[str, float]] = {}

    def note(step: str, ran: Ran) -> None:
        lake_mb = size_of(root / "lake") / 1e6
        done[step] = {"seconds": round(ran.seconds, 1), "memory_mb": round(ran.memory), "lake_mb": round(lake_mb)}
        print(json.dumps({"rows": rows, "step": step, **done[step]}), flush=True)

    started = time.perf_counter()
    files = Files(root / "data", rows)
    files.write()
    told = {
        "rows": rows,
        "files_mb": round(size_of(root / "data") / 1e6),
        "seconds_to_make": round(time.perf_counter() - started),
    }
    print(json.dumps(told), flush=True)
    tars = ", ".join(f'"data/{path.name}"' for path in sorted((root / "data").glob("*.tar")))
    (root / "pt.toml").write_text(RECIPE.format(tars=tars))
    lake = ("--lake", str(root / "lake"))
    data = root / "data"
    Lake.init(root / "lake").close()
    note(
        "ingest coco",
        command(
            "ingest", "coco", str(data / "captions_train2017.json"), "--archive", str(data / "train2017.zip"), *lake
        ),
    )
    lists = [str(data / f"blip_laion_cc_sbu_558k{end}.json") for end in ("", "_meta")]
    note("ingest llava558k", command("ingest", "llava558k", *lists, "--archive", str(data / "images.zip"), *lake))
    note("ingest sam", command("ingest", "sam", *map(str, sorted(data.glob("*.tar"))), *lake))
    released = data / "share-captioner_coco_lcs_sam_1246k_1107.json"
    note("ingest sharegpt4v (captions)", command("ingest", "sharegpt4v", str(released), *lake))
    note("run (select, release)", command("run", str(root / "pt.toml")))
    note("status", command("status", *lake))
    note("release verify", command("release", "verify", "pt@1.0.0", *lake))
    note("card", command("card", "pt@1.0.0", "-o", str(root / "card"), *lake))
    note(
        "release export parquet",
        command("release", "export", "pt@1.0.0", str(root / "set"), "--to", "parquet", "--own-use", *lake),
    )
    shutil.rmtree(root / "set")
    query = "SELECT collection, count(*), avg(width), sum(n_bytes) FROM images GROUP BY ALL"
    note("sql, grouped", command("sql", query, *lake))
    with Lake.open(root / "lake") as opened:
        key = opened.value("SELECT min(source_key) FROM images WHERE source = 'coco'")
    note("takedown", command("takedown", "--source-key", f"coco:{key}", "--reason", "asked", "--yes", *lake))
    subprocess.run(
        [sys.executable, __file__, "--embed", str(root / "lake")], check=True
    )  # its memory would count as the next step's
    note("dedupe (cosine 0.95)", command("dedupe", "--model-id", MODEL, "--threshold", "0.95", *lake))
    return done


def growth(found: dict[int, dict[str, dict[str, float]]]) -> None:
    """Exponents between the last two sizes, and what they come to."""
    small, large = sorted(found)[-2:]
    heads = [
        "step",
        f"s at {small:,}",
        f"s at {large:,}",
        "MB of memory",
        "grows as N^",
        "at 12 million",
        "at 1.2 billion",
    ]
    print(f"\n| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    for step, last in found[large].items():
        before = max(found[small][step]["seconds"], 0.1)
        power = math.log(max(last["seconds"], 0.1) / before) / math.log(large / small)
        later = [last["seconds"] * (goal / large) ** power for goal in (12_000_000, 1_200_000_000)]
        told = " | ".join(f"{one / 3600:,.1f} h" for one in later)
        print(f"| {step} | {before:,.1f} | {last['seconds']:,.1f} | {last['memory_mb']:,.0f} | {power:.2f} | {told} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[12_000, 120_000, 1_200_000])
    parser.add_argument("--keep", type=Path, help="a folder that is not there yet, for the last size's files and lake")
    parser.add_argument("--embed", type=Path, metavar="LAKE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.embed:
        with Lake.open(options.embed) as lake:
            embed(lake)
        return
    found = {}
    for rows in options.rows:
        if options.keep and rows == options.rows[-1]:
            if options.keep.exists():
                sys.exit(f"{options.keep} is there already: remove it, or name another folder")
            found[rows] = work(options.keep, rows)
            continue
        with tempfile.TemporaryDirectory() as temporary:
            found[rows] = work(Path(temporary), rows)
    if len(found) > 1:
        growth(found)


if __name__ == "__main__":
    main()
