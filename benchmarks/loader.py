"""Samples a second out of a release, beside WebDataset, datasets' streaming and a bare decoder.

    python benchmarks/loader.py                       # 20,000 JPEGs of about 45 kB, 2 workers, medians of 3
    python benchmarks/loader.py --pictures 4000 --runs 1

The pictures are crops of photographs that scikit-image brings, with noise added until their JPEGs are as large as photographs of 640
pixels are; the captions are made up. The same ones lie in a lake as a release, in tars of 1,000 for WebDataset, and in Parquet files of
1,000 for datasets. All are read by torch's DataLoader with as many workers and batches of the same size, shuffled: ours wholly, the
others by shard and within a buffer of 1,000, as their documentation has it. Clocks start at the first batch. All files are in the page
cache.
"""

import argparse
import hashlib
import io
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, default_collate

from captionlake.lake import Lake
from captionlake.lake.locking import write_lock
from captionlake.lake.pictures import open_reduced
from captionlake.lake.releases.config import ReleaseConfig
from captionlake.lake.releases.release import Draft, create_release
from captionlake.lake.shards import PICTURES_PER_SHARD, ShardWriter, place_shard
from captionlake.models.data import Order, ReleaseData, ReleaseStream, Sample

BATCH = 64
BUFFER = 1000  # of the others' shuffles, and rows of each of their files
SIDE = 224
LABEL = "made@1.0.0"


def crops(numbers: Iterable[int]) -> list[bytes]:
    """JPEGs of 320 x 320, different ones for different numbers."""
    import skimage.data

    photographs = [getattr(skimage.data, name)() for name in ("astronaut", "coffee", "chelsea")]
    found = []
    for number in numbers:
        chance = np.random.default_rng(number)
        whole = photographs[number % len(photographs)]
        top, left = (int(chance.integers(0, have - 299)) for have in whole.shape[:2])
        crop = whole[top : top + 299, left : left + 299].astype(np.int16)
        noisy = (crop + chance.integers(-24, 25, crop.shape, np.int16)).clip(0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(noisy).resize((320, 320)).save(buffer, "JPEG", quality=90)
        found.append(buffer.getvalue())
    return found


def caption(number: int) -> str:
    """About 800 characters."""
    return f"Picture {number} is a crop of a photograph with noise. " * 14


def made(count: int) -> Iterator[tuple[int, bytes]]:
    """All pictures by their numbers, in order."""
    parts = [range(start, min(start + 100, count)) for start in range(0, count, 100)]
    with multiprocessing.Pool() as pool:
        for part, pictures in zip(parts, pool.imap(crops, parts), strict=True):
            yield from zip(part, pictures, strict=True)


def write(root: Path, count: int) -> None:
    """Lake, tars and Parquet files."""
    import webdataset as wds

    (root / "tars").mkdir()
    (root / "parquet").mkdir()
    (root / "other").mkdir()
    pictures = made(count)
    with Lake.init(root / "lake") as lake:
        while part := list(islice(pictures, PICTURES_PER_SHARD)):
            store(lake, part)
            for start in range(0, len(part), BUFFER):
                some = part[start : start + BUFFER]
                number = some[0][0] // BUFFER
                with wds.TarWriter(str(root / "tars" / f"{number:06d}.tar")) as tar:
                    for key, data in some:
                        tar.write({"__key__": f"{key:09d}", "jpg": data, "txt": caption(key)})
                rows = pa.table(
                    {
                        "image": [{"bytes": data, "path": f"{key}.jpg"} for key, data in some],
                        "caption": [caption(key) for key, _ in some],
                    }
                )
                pq.write_table(rows, root / "parquet" / f"{number:06d}.parquet", row_group_size=100)
        release(lake)


def store(lake: Lake, pictures: list[tuple[int, bytes]]) -> None:
    """One shard of pictures, their rows and captions."""
    ids = [hashlib.sha256(data).hexdigest() for _, data in pictures]
    numbers = [number for number, _ in pictures]
    with lake.staging("made") as staging:
        writer = ShardWriter(staging / "shard.parquet")
        for image_id, (_, data) in zip(ids, pictures, strict=True):
            writer.add(image_id, data)
        located = writer.finish()
        with write_lock(lake.path):
            shard = place_shard(staging / "shard.parquet", lake.images)
    same = {
        "source": "made",
        "collection": "coco",
        "width": 320,
        "height": 320,
        "format": "JPEG",
        "orientation": 1,
        "phash": 0,
    }
    images = pl.DataFrame(
        {
            "source_key": [f"{number:09d}" for number in numbers],
            "image_id": ids,
            "shard": shard,
            "n_bytes": [at.n_bytes for at in located],
            "row": [at.row for at in located],
            "offset": [at.offset for at in located],
        }
    ).with_columns(**{name: pl.lit(value) for name, value in same.items()})
    texts = [caption(number) for number in numbers]
    captions = pl.DataFrame(
        {"caption_id": ids, "image_id": ids, "text": texts, "chars": list(map(len, texts))}
    ).with_columns(kind=pl.lit("human"), producer=pl.lit("made"), words=pl.lit(140))
    with lake.registered(_images=images.to_arrow(), _captions=captions.to_arrow()):
        lake.commit(lambda c: c.execute("INSERT INTO images BY NAME SELECT *, now() AS ingested_at FROM _images"))
        lake.commit(lambda c: c.execute("INSERT INTO captions BY NAME SELECT *, now() AS created_at FROM _captions"))


def release(lake: Lake) -> None:
    """All of it."""
    none = dict.fromkeys(("source", "source_key", "reason", "detail", "keeper_source", "keeper_key"), pl.String)
    items = lake.arrow("SELECT source, source_key, image_id, 'train' AS split FROM images")
    empty = pl.DataFrame(schema={**none, "similarity": pl.Float64}).to_arrow()
    config = ReleaseConfig(name="made", version="1.0.0")
    draft = Draft(config=config, recipe="", snapshot=lake.snapshot(), items=items, exclusions=empty, producers=["made"])
    create_release(lake, draft)


def decoded(data: bytes) -> torch.Tensor:
    """uint8 (224, 224, 3): the decoder that all of them use, a JPEG reduced as far as it may be."""
    image, _ = open_reduced(data, SIDE)
    resized = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(resized))


def decoded_sample(sample: Sample) -> torch.Tensor:
    return decoded(sample.images[0])


class InMemory(Dataset[torch.Tensor]):
    """What torch's DataLoader itself allows: the pictures are in memory, and nothing is left but to decode and to send."""

    def __init__(self, pictures: list[bytes]) -> None:
        self._pictures = pictures

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: int) -> torch.Tensor:
        return decoded(self._pictures[index])


def bytes_of(sample: Sample) -> tuple[bytes, str]:
    return sample.images[0], sample.turns[1][1]


def ours(data: ReleaseData, epoch: int, transform: Callable[[Sample], Any]) -> ReleaseStream:
    stream = ReleaseStream(data, transform, Order(rank=0, world_size=1, batch_size=BATCH))
    stream.set_epoch(epoch)
    return stream


def of_webdataset(folder: Path, epoch: int) -> Any:
    import webdataset as wds

    tars = sorted(str(path) for path in folder.glob("*.tar"))
    pipeline = wds.WebDataset(tars, shardshuffle=len(tars), seed=epoch, workersplitter=wds.split_by_worker)
    return pipeline.shuffle(BUFFER).to_tuple("jpg", "txt")


def of_datasets(folder: Path, epoch: int) -> Any:
    from datasets import Features, Value, load_dataset
    from datasets import Image as ImageFeature

    features = Features({"image": ImageFeature(decode=False), "caption": Value("string")})
    files = sorted(str(path) for path in folder.glob("*.parquet"))
    rows = load_dataset("parquet", data_files=files, split="train", streaming=True, features=features)
    return rows.shuffle(seed=epoch, buffer_size=BUFFER)


@dataclass(frozen=True, slots=True)
class Measured:
    """Samples a second, and microseconds of processor a sample, of all processes together, their start included."""

    rate: float
    processor: float


def measured(work: Callable[[], float], count: int) -> Measured:
    """``work`` gives samples a second, and uses up ``count`` of them."""
    before = _processor()
    rate = work()
    return Measured(rate, (_processor() - before) / count * 1e6)


def _processor() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def speed(dataset: Any, workers: int, collate: Callable[[list[Any]], Any], count: int) -> float:
    """Samples a second after the first batch."""
    loader = DataLoader(dataset, batch_size=BATCH, num_workers=workers, collate_fn=collate, prefetch_factor=4)
    batches = iter(loader)
    first = len(next(batches))
    started = time.perf_counter()
    seen = first + sum(len(batch) for batch in batches)
    rate = (seen - first) / (time.perf_counter() - started)
    assert seen == count, (seen, count)
    return rate


def bare_decoder(parts: list[list[bytes]]) -> float:
    """Samples a second of a process for each part that does nothing but decode what it has in memory."""
    barrier = multiprocessing.Barrier(len(parts) + 1)
    processes = [multiprocessing.Process(target=_decode_all, args=(part, barrier)) for part in parts]
    for process in processes:
        process.start()
    barrier.wait()
    started = time.perf_counter()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    return sum(map(len, parts)) / (time.perf_counter() - started)


def _decode_all(pictures: list[bytes], barrier: Any) -> None:
    torch.set_num_threads(1)
    decoded(pictures[0])
    barrier.wait()
    for data in pictures:
        decoded(data)


def random_access(data: ReleaseData, count: int) -> float:
    """Samples a second of one process that asks for indices in any order."""
    indices = np.random.default_rng(0).integers(0, len(data), count).tolist()
    started = time.perf_counter()
    for index in indices:
        data[index]
    return count / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--decoded", type=int, default=6_000, help="pictures of the bare decoder's loop")
    options = parser.parse_args()
    count, workers = options.pictures, options.workers
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        write(root, count)
        started = time.perf_counter()
        data = ReleaseData.open(root / "lake", LABEL)
        first = time.perf_counter() - started
        started = time.perf_counter()
        data = ReleaseData.open(root / "lake", LABEL)
        size = statistics.mean(len(data[i].images[0]) for i in range(0, count, 50))
        print(f"{count:,} JPEGs, {size / 1000:.1f} kB on average, {workers} workers, batches of {BATCH}")
        print(f"opened and verified in {first:.2f} s, again in {time.perf_counter() - started:.2f} s")
        few = min(count, options.decoded)
        parts = [[data[i].images[0] for i in range(worker, few, workers)] for worker in range(workers)]
        found: dict[str, list[Measured]] = {}
        tars, parquet = root / "tars", root / "parquet"
        works: dict[str, tuple[Callable[[int], float], int]] = {
            "bytes, captionlake": (lambda epoch: speed(ours(data, epoch, bytes_of), workers, list, count), count),
            "bytes, WebDataset": (lambda epoch: speed(of_webdataset(tars, epoch), workers, list, count), count),
            "bytes, datasets": (lambda epoch: speed(of_datasets(parquet, epoch), workers, list, count), count),
            "decoded, captionlake": (
                lambda epoch: speed(ours(data, epoch, decoded_sample), workers, default_collate, count),
                count,
            ),
            "decoded, from memory": (
                lambda epoch: speed(InMemory(list(chain(*parts))), workers, default_collate, few),
                few,
            ),
            "decoder alone": (lambda epoch: bare_decoder(parts), few),
            "by index, one process": (lambda epoch: random_access(data, count), count),
        }
        for run in range(options.runs):
            for name, (work, used) in works.items():
                one = measured(partial(work, run), used)
                found.setdefault(name, []).append(one)
                print(f"  {name}: {one.rate:,.0f} samples/s, {one.processor:,.0f} us of processor", flush=True)
        print("medians:")
        rates = {name: statistics.median(one.rate for one in all_) for name, all_ in found.items()}
        processors = {name: statistics.median(one.processor for one in all_) for name, all_ in found.items()}
        for name, rate in rates.items():
            print(f"  {name}: {rate:,.0f} samples/s, {processors[name]:,.0f} us of processor")
        for one_name, other, goal in (
            ("bytes, captionlake", "bytes, WebDataset", 1.2),
            ("bytes, captionlake", "bytes, datasets", 4),
            ("decoded, captionlake", "decoder alone", 0.9),
            ("decoded, captionlake", "decoded, from memory", 0.9),
        ):
            clock, processor = rates[one_name] / rates[other], processors[other] / processors[one_name]
            print(f"{one_name} / {other}: {clock:.2f} by the clock, {processor:.2f} by processor (goal {goal})")


if __name__ == "__main__":
    main()
