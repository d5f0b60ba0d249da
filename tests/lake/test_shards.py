"""Shards: every picture lies contiguous where its locator says, and damage is noticed."""

import hashlib
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captionlake.errors import CaptionlakeError
from captionlake.lake.local_storage import LocalStorage
from captionlake.lake.shards import Locator, ShardReader, ShardWriter, place_shard


def write(path: Path, pictures: list[bytes]) -> list[Locator]:
    writer = ShardWriter(path)
    for data in pictures:
        writer.add(hashlib.sha256(data).hexdigest(), data)
    return writer.finish()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(min_size=0, max_size=3000), min_size=1, max_size=230))
def test_each_picture_lies_at_its_offset(pictures: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s.parquet"
        locators = write(path, pictures)
        whole = path.read_bytes()
        assert [locator.row for locator in locators] == list(range(len(pictures)))
        assert [whole[at.offset : at.offset + at.n_bytes] for at in locators] == pictures
        assert pq.read_table(path)["bytes"].to_pylist() == pictures
        assert pq.ParquetFile(path).metadata.num_row_groups == -(-len(pictures) // 100)


def test_large_pictures_stay_contiguous(tmp_path: Path) -> None:
    pictures = [bytes([n]) * (3_000_000 + n) for n in range(12)]
    locators = write(tmp_path / "s.parquet", pictures)
    reader = ShardReader(LocalStorage(tmp_path))
    for data, locator in zip(pictures, locators, strict=True):
        assert reader.read(hashlib.sha256(data).hexdigest(), locator) == data
    reader.close()


def test_damage_is_an_error_that_names_the_picture(tmp_path: Path) -> None:
    locators = write(tmp_path / "s.parquet", [b"first", b"second"])
    with (tmp_path / "s.parquet").open("r+b") as file:
        file.seek(locators[1].offset)
        file.write(b"S")
    reader = ShardReader(LocalStorage(tmp_path))
    assert reader.read(hashlib.sha256(b"first").hexdigest(), locators[0]) == b"first"
    with pytest.raises(CaptionlakeError, match=hashlib.sha256(b"second").hexdigest()):
        reader.read(hashlib.sha256(b"second").hexdigest(), locators[1])
    reader.close()


def test_numbers_go_on_after_the_highest(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for expected in ("shard-000001.parquet", "shard-000002.parquet"):
        write(tmp_path / "s.parquet", [b"x"])
        assert place_shard(tmp_path / "s.parquet", LocalStorage(images)) == expected
    (images / "shard-000001.parquet").unlink()
    write(tmp_path / "s.parquet", [b"x"])
    assert place_shard(tmp_path / "s.parquet", LocalStorage(images)) == "shard-000003.parquet"
