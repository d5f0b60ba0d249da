"""How fast a source reads its official annotation files, and the largest memory it takes. Goals: 100,000 rows/s, under 1.5 GB.

The lists have the official forms and made-up rows (no pictures behind them). A row is a row of the file's lists: of COCO an image
or an annotation (five captions an image), of TextCaps a caption (five an image), a picture elsewhere. ``--rows`` counts COCO's images.
LLaVA's list has its official number of rows, or ``--rows`` if that is less; TextCaps' has 110,000 officially, and more here. Each list
is written by a process of its own and read by another, so that no peak holds anything but the reading (and the program's imports); the
time is of draining ``Source.read``, without the imports.
"""

import argparse
import hashlib
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

GOAL_RATE = 100_000  # rows a second
GOAL_PEAK = 1500 * 10**6  # bytes
EACH = 5  # captions an image, of COCO and TextCaps
BATCH = 100_000
_SENTENCE = "a man rides the old red bicycle past market stalls while two grey dogs sleep near some water in café light"
_WORDS = _SENTENCE.split()
_BLIP = "blip_laion_cc_sbu_558k"
_COCO_HEAD = """{"info": {"description": "made-up rows"}, "licenses": [
{"url": "http://creativecommons.org/licenses/by-nc-sa/2.0/", "id": 1, "name": "Attribution-NonCommercial-ShareAlike License"},
{"url": "http://creativecommons.org/licenses/by/2.0/", "id": 2, "name": "Attribution License"}], "images": ["""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Form:
    """How to write one source's list into a folder, given the rows; returns the files."""

    write: Callable[[Path, int], list[Path]]
    most: int = sys.maxsize  # rows of the official list, where the benchmark takes no more
    rows_a_picture: int = 1
    items_a_row: int = 1


def words(number: int) -> str:
    """A caption of about 50 characters."""
    start = number % 10
    return f"{' '.join(_WORDS[start : start + 9])} {number}"


def put(path: Path, lines: Iterator[str], before: str = "", between: str = "\n", after: str = "\n") -> Path:
    """Write the lines one by one."""
    with path.open("a", encoding="utf-8") as file:
        file.write(before + next(lines))
        file.writelines(between + line for line in lines)
        file.write(after)
    return path


def coco(folder: Path, rows: int) -> list[Path]:
    """All images first, then all first captions, all second captions, and so on."""
    images = (
        f'{{"license": {1 + n % 2}, "file_name": "{n:012d}.jpg", "coco_url": "http://images.cocodataset.org/train2017/{n:012d}.jpg", '
        f'"height": {400 + n % 200}, "width": 640, "date_captured": "2013-11-14 11:18:45", '
        f'"flickr_url": "http://farm3.staticflickr.com/2000/{n}_z.jpg", "id": {n}}}'
        for n in range(rows)
    )
    texts = (
        f'{{"image_id": {n}, "id": {nth * rows + n}, "caption": {json.dumps(words(n + nth))}}}'
        for nth in range(EACH)
        for n in range(rows)
    )
    path = folder / "captions_train2017.json"
    put(path, images, _COCO_HEAD, ", ", '], "annotations": [')
    return [put(path, texts, "", ", ", "]}")]


def laion(folder: Path, rows: int) -> list[Path]:
    """One part with the columns of LAION-400M."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"SAMPLE_ID": pa.int64(), "URL": pa.string(), "TEXT": pa.string(), "HEIGHT": pa.int32()}
    types |= {"WIDTH": pa.int32(), "LICENSE": pa.string(), "NSFW": pa.string(), "similarity": pa.float64()}
    schema = pa.schema(types)
    path = folder / "part-00000-5b54c5d5-bbcf-484d-a2ce-0d6f73df1a36-c000.snappy.parquet"
    with pq.ParquetWriter(path, schema, compression="snappy") as writer:
        for first in range(0, rows, BATCH):
            batch = range(first, min(first + BATCH, rows))
            columns = [
                [1_581_282_014_547 + n for n in batch],
                [f"https://cdn{n % 97}.shop.invalid/pictures/{n:09d}/large.jpg" for n in batch],
                [words(n) for n in batch],
                [300 + n % 900 for n in batch],
                [400 + n % 700 for n in batch],
                ["cc-by-2.0" if n % 5 == 0 else "?" for n in batch],
                [("UNLIKELY", "UNSURE", "NSFW")[n % 3] for n in batch],
                [0.3 + n % 701 / 10_000 for n in batch],
            ]
            writer.write_table(pa.table(dict(zip(schema.names, columns, strict=True)), schema))
    return [path]


def cc3m(folder: Path, rows: int) -> list[Path]:
    """Caption, tab, address."""
    lines = (f"{words(n)}\thttp://host{n % 97}.invalid/wp-content/uploads/{n:09d}.jpg" for n in range(rows))
    return [put(folder / "Train_GCC-training.tsv", lines)]


def sbu(folder: Path, rows: int) -> list[Path]:
    """Two text files in step."""
    urls = (f"http://static.flickr.com/{n % 4000}/{n:010d}_35ebb.jpg" for n in range(rows))
    texts = (words(n) for n in range(rows))
    stem = "SBU_captioned_photo_dataset"
    return [put(folder / f"{stem}_urls.txt", urls), put(folder / f"{stem}_captions.txt", texts)]


def llava558k(folder: Path, rows: int) -> list[Path]:
    """The conversations, indented by two as the official file is, and the list of addresses."""
    chats = (
        f'  {{\n    "id": "{n:09d}",\n    "image": "{n // 1000:05d}/{n:09d}.jpg",\n    "conversations": [\n'
        '      {\n        "from": "human",\n        "value": "Write a terse but informative summary.\\n<image>"\n      },\n'
        f'      {{\n        "from": "gpt",\n        "value": {json.dumps(words(n))}\n      }}\n    ]\n  }}'
        for n in range(rows)
    )
    metas = (
        f'{{"id": "{n:09d}", "image": "{n // 1000:05d}/{n:09d}.jpg", "blip_caption": {json.dumps(words(n))}, '
        f'"url": "https://pictures.invalid/{n:09d}.jpg"}}'
        for n in range(rows)
    )
    listed = put(folder / f"{_BLIP}.json", chats, "[\n", ",\n", "\n]")
    return [listed, put(folder / f"{_BLIP}_meta.json", metas, "[", ", ", "]")]


def textcaps(folder: Path, rows: int) -> list[Path]:
    """A row a caption; each row has all captions of its image."""
    count = -(-rows // EACH)
    references = [[f'{words(n + nth)} says "STOP {nth}".' for nth in range(EACH)] for n in range(count)]
    ids = [hashlib.md5(str(n).encode()).hexdigest()[:16] for n in range(count)]
    lines = (
        json.dumps(
            {
                "image_id": ids[n % count],
                "image_classes": ["Sign", "Traffic sign"],
                "flickr_original_url": f"https://farm1.staticflickr.com/1/{n % count}_o.jpg",
                "flickr_300k_url": f"https://c1.staticflickr.com/1/{n % count}_z.jpg",
                "image_width": 1024,
                "image_height": 768,
                "set_name": "train",
                "image_name": ids[n % count],
                "image_path": f"train/{ids[n % count]}.jpg",
                "caption_id": n,
                "caption_str": references[n % count][n // count],
                "reference_strs": references[n % count],
            }
        )
        for n in range(rows)
    )
    return [put(folder / "TextCaps_0.1_train.json", lines, '{"dataset_type": "train", "data": [', ", ", "]}")]


def hf(folder: Path, rows: int) -> list[Path]:
    """Files of 10,000 rows in groups of 100; an image is 64 bytes that are no picture."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    form = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    features = {"image": {"_type": "Image"}, "text": {"dtype": "string", "_type": "Value"}}
    told = {"huggingface": json.dumps({"info": {"features": features}})}
    starts = range(0, rows, 10_000)
    paths = [folder / f"train-{part:05d}-of-{len(starts):05d}.parquet" for part in range(len(starts))]
    for first, path in zip(starts, paths, strict=True):
        batch = range(first, min(first + 10_000, rows))
        images = [{"bytes": hashlib.sha512(str(n).encode()).digest(), "path": f"{n}.jpg"} for n in batch]
        table = pa.table({"image": pa.array(images, form), "text": [words(n) for n in batch]})
        pq.write_table(table.replace_schema_metadata(told), path, row_group_size=100)
    return paths


def sharegpt4v(folder: Path, rows: int) -> list[Path]:
    """Share-Captioner's file on one line, with captions of about 900 characters in two paragraphs."""
    half = ". ".join([_SENTENCE.capitalize()] * 4)
    text = json.dumps(f"{half}.\n\n{half}. ")[1:-1]
    places = ("coco/train2017", "llava/llava_pretrain/images/00453", "sam/images")
    lines = (
        f'{{"id": "{n:012d}", "image": "{places[n % 3]}/{n:012d}.jpg", "conversations": '
        '[{"from": "human", "value": "<image>\\nWhat do you see happening in this image?"}, '
        f'{{"from": "gpt", "value": "{text}{n}"}}]}}'
        for n in range(rows)
    )
    return [put(folder / "share-captioner_coco_lcs_sam_1246k_1107.json", lines, "[", ", ", "]")]


FORMS = {
    "coco": Form(coco, items_a_row=1 + EACH),
    "laion": Form(laion),
    "cc3m": Form(cc3m),
    "sbu": Form(sbu),
    "llava558k": Form(llava558k, most=558_128),
    "textcaps": Form(textcaps, rows_a_picture=EACH),
    "hf": Form(hf),
    "sharegpt4v": Form(sharegpt4v),
}


def write(name: str, folder: Path, rows: int) -> list[Path]:
    """The files of one list."""
    return FORMS[name].write(folder, rows)


def drain(name: str, paths: list[Path]) -> tuple[int, float, int]:
    """(rows of the frames, seconds, the process's largest resident size in bytes)."""
    from captionlake.lake.ingest_config import IngestConfig
    from captionlake.lake.sources import SOURCES
    from captionlake.lake.sources.sharegpt4v import released

    read = released if name == "sharegpt4v" else SOURCES[name].read
    config = IngestConfig(source=name, inputs=[str(path) for path in paths])
    count = 0
    started = time.perf_counter()
    for frame in read(config):
        count += frame.height
        assert not frame["bad"].count(), frame["bad"].drop_nulls()[0]
    seconds = time.perf_counter() - started
    return count, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def apart(task: Callable[..., T], *told: object) -> T:
    """The task's result, by a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(task, *told).result()


def measure(name: str, rows: int, runs: int) -> tuple[float, float]:
    """Medians of rows a second and of the peak in bytes; prints them. The list is gone afterwards."""
    form = FORMS[name]
    rows = min(rows, form.most)
    with tempfile.TemporaryDirectory() as temporary:
        paths = apart(write, name, Path(temporary), rows)
        size = sum(path.stat().st_size for path in paths)
        rates: list[float] = []
        peaks: list[float] = []
        for _ in range(runs):
            count, seconds, most = apart(drain, name, paths)
            assert count == -(-rows // form.rows_a_picture), f"{name}: {count:,} pictures of {rows:,} rows"
            rates.append(rows * form.items_a_row / seconds)
            peaks.append(most)
    rate, peak = statistics.median(rates), statistics.median(peaks)
    told = f"{rate:,.0f} rows/s, peak {peak / 2**20:,.0f} MiB"
    of_images = f" ({rows:,} images)" if form.items_a_row > 1 else ""
    print(f"{name}: {rows * form.items_a_row:,} rows{of_images}, {size / 10**6:,.0f} MB: {told}", flush=True)
    return rate, peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_200_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=FORMS, default=list(FORMS), metavar="NAME")
    options = parser.parse_args()
    print(f"made-up rows in the official forms; median of {options.runs}")
    medians = {name: measure(name, options.rows, options.runs) for name in options.only}
    slow = [name for name, (rate, _) in medians.items() if rate < GOAL_RATE]
    large = [name for name, (_, peak) in medians.items() if peak >= GOAL_PEAK]
    print(f"goal {GOAL_RATE:,} rows/s or more: missed by {', '.join(slow) or 'none'}")
    print(f"goal under {GOAL_PEAK / 2**20:,.0f} MiB (1.5 GB): missed by {', '.join(large) or 'none'}")


if __name__ == "__main__":
    main()
