"""Samples that cannot be used: replaced, named, counted once, and the same for every run."""

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.ingest import ingest
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.pictures import open_rgb
from captionlake.models.data import Order, ReleaseData, ReleaseDataset, ReleaseStream, Sample, SkipLog, UnreadableSample

from .conftest import release_images
from .test_release_data import damage, shard_of


def decode(sample: Sample) -> int:
    """As a transform of training does: all pictures decoded."""
    for data in sample.images:
        open_rgb(data).load()
    if sample.key.endswith("/00012.jpg"):
        raise UnreadableSample("nothing of the answer is left", "too long")
    return sample.position


@pytest.fixture
def broken(folder: Path, tmp_path: Path, tiles: Callable[[int], list[bytes]]) -> ReleaseData:
    """Of 38 samples: 00004.jpg with damaged bytes; 00012.jpg is refused by the transform; and one that is truncated as it came.

    Nothing truncated comes into a lake, so its shard and its row are written past the check.
    """
    import hashlib

    from captionlake.lake.local_storage import LocalStorage
    from captionlake.lake.locking import write_lock
    from captionlake.lake.shards import ShardWriter, place_shard

    cut = tiles(40)[20][:900]
    with Lake.open(folder) as lake:
        with lake.staging("test") as staging:
            writer = ShardWriter(staging / "shard.parquet")
            image_id = hashlib.sha256(cut).hexdigest()
            writer.add(image_id, cut)
            (at,) = writer.finish()
            with write_lock(folder):
                shard = place_shard(staging / "shard.parquet", LocalStorage(folder / "images"))
        lake.commit(
            lambda c: c.execute(
                'UPDATE images SET image_id = ?, shard = ?, "row" = 0, "offset" = ?, n_bytes = ? WHERE source_key = \'00020.jpg\'',
                [image_id, shard, at.offset, at.n_bytes],
            )
        )
        lake.commit(lambda c: c.execute("UPDATE captions SET image_id = ? WHERE source_key = '00020.jpg'", [image_id]))
        label = release_images(lake, "5.0.0")
    damage(folder, "00004.jpg")
    return ReleaseData.open(folder, label)


WANTED = {4: 5, 12: 13, 20: 21}


@pytest.mark.parametrize("workers", [0, 2])
def test_others_take_their_places_and_each_is_noted(broken: ReleaseData, tmp_path: Path, workers: int) -> None:
    dataset = ReleaseDataset(broken, decode, SkipLog(tmp_path / "run" / "skips.jsonl"))
    given = [p for batch in DataLoader(dataset, batch_size=5, num_workers=workers, collate_fn=list) for p in batch]
    assert given == [WANTED.get(p, p) for p in range(40) if p not in (3, 17)]
    skips = sorted(dataset.skips.read(), key=lambda skip: skip.position)
    assert {skip.position: skip.substitute for skip in skips} == WANTED
    assert [skip.reason for skip in skips] == ["damaged", "too long", "truncated"]
    assert skips[0].key == "folder-coco/00004.jpg" and "bytes are not those" in skips[0].detail
    lines = (tmp_path / "run" / "skips.jsonl").read_text().splitlines()
    assert len(lines) == 3 and json.loads(lines[0]).keys() == {"position", "key", "reason", "detail", "substitute"}
    list(DataLoader(dataset, batch_size=None, num_workers=workers))
    assert dataset.skips.counts() == {"damaged": 1, "too long": 1, "truncated": 1} and len(dataset.skips.read()) == 6


def test_ranks_of_a_stream_stay_equally_long(broken: ReleaseData) -> None:
    log = SkipLog()
    streams = [ReleaseStream(broken, decode, Order(rank=rank, world_size=3), skips=log) for rank in range(3)]
    given = [list(one) for one in streams]
    assert [len(one) for one in given] == [12, 12, 12] and not set(WANTED) & {p for one in given for p in one}
    assert given == [list(one) for one in streams]
    assert set(log.counts()) <= {"damaged", "too long", "truncated"}
    path = log.path
    del log, streams
    gc.collect()
    assert not path.exists()  # a temporary one


def test_a_substitute_is_of_the_same_kind(folder: Path) -> None:
    data = ReleaseData.open(folder, "mix@1.0.0")

    def refuse(sample: Sample) -> Any:
        if sample.key in ("p11", "15"):
            raise UnreadableSample("refused")
        return sample.key

    dataset = ReleaseDataset(data, refuse)
    assert (dataset[11], dataset[15], dataset[-1]) == ("two", "t0", "two")
    with pytest.raises(IndexError):
        dataset[17]


def test_an_error_of_the_transform_itself_is_no_skip(broken: ReleaseData) -> None:
    dataset = ReleaseDataset(broken, lambda sample: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        dataset[0]
    assert not dataset.skips.read()


def test_a_shard_that_goes_away_stops_the_run(folder: Path) -> None:
    data = ReleaseData.open(folder, "tiles@1.0.0")
    shard_of(folder).unlink()
    with pytest.raises(
        CaptionlakeError, match=r"38 samples in a row cannot be used, the first is folder-coco/00000\.jpg"
    ):
        ReleaseDataset(data)[0]


def test_reading_many_samples_stops_after_a_hundred(
    folder: Path, tiles: Callable[[int], list[bytes]], tmp_path: Path
) -> None:
    pictures = tmp_path / "more"
    pictures.mkdir()
    for number, picture in enumerate(tiles(150)):
        (pictures / f"x{number}.jpg").write_bytes(picture)
    (pictures / "metadata.csv").write_text("file_name,caption\n" + "".join(f"x{n}.jpg,Text {n}\n" for n in range(150)))
    with Lake.open(folder) as lake:
        ingest(lake, IngestConfig(source="folder", inputs=[str(pictures)], collection="web", redistribute="bytes"))
        label = release_images(lake, "6.0.0")
    tried: list[int] = []

    def refuse(sample: Sample) -> Any:
        tried.append(sample.position)
        raise UnreadableSample("refused")

    with pytest.raises(CaptionlakeError, match="100 samples in a row"):
        ReleaseDataset(ReleaseData.open(folder, label), refuse)[0]
    assert len(tried) == 100
