"""Exported releases: the same samples as the lake gives, read in order, and what is refused."""

import copy
import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from torchdata.stateful_dataloader import StatefulDataLoader

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.exports.forms import export_release
from captionlake.models.data import ExportedStream, Order, ReleaseData, Sample, UnreadableSample


def position(sample: Sample) -> int:
    return sample.position


@pytest.fixture(scope="module")
def exported(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with exports of the releases, of seven rows a row group and about three row groups a file."""
    folder = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch, Lake.open(made / "lake") as lake:
        patch.setattr("captionlake.lake.exports.image_parquet.ROWS_PER_GROUP", 7)
        patch.setattr("captionlake.lake.exports.sft_parquet.ROWS_PER_GROUP", 4)
        patch.setattr("captionlake.lake.exports.split_writer._BYTES_PER_FILE", 10_000)
        for label in ("tiles@1.0.0", "tiles@2.0.0", "mix@1.0.0"):
            export_release(lake, label, "parquet", folder / label)
    return folder


def stream(folder: Path, transform: Any = position, **order: Any) -> ExportedStream:
    options: dict[str, Any] = {name: order.pop(name) for name in ("window", "split") if name in order}
    return ExportedStream(
        folder, transform, Order(**({"rank": 0, "world_size": 1} | order)), **({"window": 10} | options)
    )


@pytest.mark.parametrize("label", ["tiles@1.0.0", "tiles@2.0.0", "mix@1.0.0"])
def test_the_samples_are_those_of_the_lake(made: Path, exported: Path, label: str) -> None:
    data = ReleaseData.open(made / "lake", label)
    one = stream(exported / label, None, shuffle=False)
    assert list(one) == [data[i] for i in range(len(data))]
    assert (one.label, one.content_sha256, one.left_out) == (label, data.content_sha256, data.left_out)
    assert len(list((exported / label / "data").iterdir())) > 1


def test_epochs_are_shuffled_and_whole(exported: Path) -> None:
    one = stream(exported / "tiles@1.0.0")
    epochs = []
    for epoch in range(3):
        one.set_epoch(epoch)
        epochs.append(list(one))
    everything = list(stream(exported / "tiles@1.0.0", shuffle=False))
    assert [sorted(epoch) for epoch in epochs] == [everything] * 3 and len(
        {*map(tuple, epochs), tuple(everything)}
    ) == 4


@pytest.mark.parametrize("uneven", ["drop", "pad"])
@pytest.mark.parametrize("world", [1, 3, 5])
def test_ranks_share_the_samples(exported: Path, world: int, uneven: str) -> None:
    ranks = [
        list(stream(exported / "tiles@1.0.0", rank=rank, world_size=world, uneven=uneven)) for rank in range(world)
    ]
    assert {len(rank) for rank in ranks} == {38 // world if uneven == "drop" else -(-38 // world)}
    seen = [one for rank in ranks for one in rank]
    assert len(set(seen)) == (len(seen) if uneven == "drop" else 38)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_goes_on_sees_what_it_would_have_seen(exported: Path, workers: int) -> None:
    def loader(epoch: int) -> StatefulDataLoader[Any]:
        one = stream(exported / "tiles@1.0.0", batch_size=4)
        one.set_epoch(epoch)
        return StatefulDataLoader(one, batch_size=4, num_workers=workers, collate_fn=list)

    first = loader(2)
    whole = [(batch, copy.deepcopy(first.state_dict())) for batch in first]
    assert len({p for batch, _ in whole for p in batch}) == 38 and len(whole) == 10
    for stop in range(0, 10, 3 if workers else 1):
        again = loader(0)
        again.load_state_dict(whole[stop][1])
        assert list(again) == [batch for batch, _ in whole[stop + 1 :]]
    with pytest.raises(CaptionlakeError, match="window"):
        stream(exported / "tiles@1.0.0", window=9).load_state_dict(stream(exported / "tiles@1.0.0").state_dict())


def test_a_window_is_as_large_as_it_is_asked_to_be(exported: Path) -> None:
    """With windows of one, samples come as they lie in the row groups, whose order alone is mixed."""
    seen = list(stream(exported / "tiles@1.0.0", window=1))
    jumps = [b - a for a, b in pairwise(seen) if not 1 <= b - a <= 2]  # 3 and 17 have no caption
    assert 0 < len(jumps) < 6


def test_unusable_samples_are_replaced_within_the_window(exported: Path) -> None:
    def refuse(sample: Sample) -> int:
        if sample.position in (8, 20):
            raise UnreadableSample("refused", "refused")
        return sample.position

    one = stream(exported / "tiles@1.0.0", refuse)
    seen = list(one)
    whole = list(stream(exported / "tiles@1.0.0"))
    assert [s for s, w in zip(seen, whole, strict=True) if w not in (8, 20)] == [w for w in whole if w not in (8, 20)]
    assert one.skips.counts() == {"refused": 2} and len(seen) == 38 and not {8, 20} & set(seen)


def first_file(folder: Path) -> Path:
    return min((folder / "data").iterdir())


def test_missing_and_damaged_files_are_refused(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(CaptionlakeError, match=r"no exported release in .* release export NAME@VERSION"):
        stream(tmp_path)
    folder = shutil.copytree(exported / "tiles@1.0.0", tmp_path / "lacking")
    first_file(folder).unlink()
    with pytest.raises(CaptionlakeError, match=r"1 of \d files of train are missing .* the first is number 0"):
        stream(folder)
    folder = shutil.copytree(exported / "tiles@1.0.0", tmp_path / "cut")
    first_file(folder).write_bytes(first_file(folder).read_bytes()[:-100])
    with pytest.raises(CaptionlakeError, match=r"parquet cannot be read .* export again"):
        stream(folder)
    folder = shutil.copytree(exported / "tiles@2.0.0", tmp_path / "half")
    for path in (folder / "data").glob("test-*"):
        path.unlink()
    with pytest.raises(CaptionlakeError, match="the content hash of its 30 rows is not"):
        stream(folder)
    with pytest.raises(CaptionlakeError, match="no row to train on in split nowhere"):
        stream(exported / "tiles@1.0.0", split="nowhere")


@pytest.mark.parametrize("column", ["captions", "source_key"])
def test_changed_rows_are_refused(exported: Path, tmp_path: Path, column: str) -> None:
    folder = shutil.copytree(exported / "tiles@1.0.0", tmp_path / "changed")
    rows = pq.read_table(first_file(folder))
    changed = rows.to_pylist()
    changed[1][column] = changed[0][column]
    pq.write_table(rows.from_pylist(changed, rows.schema), first_file(folder))
    with pytest.raises(
        CaptionlakeError, match=r"is not tiles@1\.0\.0 as it was exported: row 1 is not what its hash says"
    ):
        stream(folder)


def test_a_changed_picture_is_skipped(exported: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(exported / "tiles@1.0.0", tmp_path / "changed")
    rows = pq.read_table(first_file(folder))
    changed = rows.to_pylist()
    changed[1]["image"]["bytes"] = changed[0]["image"]["bytes"]
    pq.write_table(rows.from_pylist(changed, rows.schema), first_file(folder))
    one = stream(folder)
    assert 1 not in list(one) and one.skips.counts() == {"damaged": 1}


def test_pictures_that_are_not_to_be_passed_on(folder: Path, tmp_path: Path) -> None:
    with Lake.open(folder) as lake:
        lake.commit(lambda c: c.execute("UPDATE sources SET redistribute = 'urls'"))
        lake.commit(lambda c: c.execute(f"UPDATE releases SET snapshot_id = {lake.snapshot()}"))
        for label, pictures in (("tiles@1.0.0", 40), ("mix@1.0.0", 13)):
            counts = export_release(lake, label, "parquet", tmp_path / "public" / label)
            assert counts.withheld == pictures
            with pytest.raises(CaptionlakeError, match=r"allow no copies: .* export again with --own-use"):
                stream(tmp_path / "public" / label)
            assert export_release(lake, label, "parquet", tmp_path / "own" / label, own_use=True).withheld == 0
        with pytest.raises(CaptionlakeError, match="leave out --own-use"):
            export_release(lake, "tiles@1.0.0", "webdataset", tmp_path / "tars", own_use=True)
    assert len(list(stream(tmp_path / "own" / "tiles@1.0.0"))) == 38
    assert len(list(stream(tmp_path / "own" / "mix@1.0.0"))) == 17


def test_an_export_without_its_release_is_refused(exported: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(exported / "mix@1.0.0", tmp_path / "old")
    for path in (folder / "data").iterdir():
        pq.write_table(pq.read_table(path).replace_schema_metadata({}), path)
    with pytest.raises(CaptionlakeError, match="export it again with this captionlake"):
        stream(folder)


def test_conversations_are_read_by_datasets_with_their_pictures(exported: Path, tmp_path: Path) -> None:
    from datasets import load_dataset

    files = str(exported / "mix@1.0.0" / "data" / "*.parquet")
    loaded = load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert [len(row["pictures"]) for row in loaded] == [1] * 12 + [0] * 4 + [1, 1, 2]
    assert loaded[0]["pictures"][0].size == (64, 64) and loaded[16]["pictures"] == [None]
    assert json.loads(loaded[18]["record"])["image"] == ["coco/00001.jpg", "coco/00002.jpg"]
    assert [row["position"] for row in loaded] == list(range(19))
