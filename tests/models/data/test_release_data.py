"""Releases opened as data: which samples there are, what they hold, and what is refused."""

import os
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.cache import cache_folder
from captionlake.lake.releases.release import find_release
from captionlake.models.data import ReleaseData, UnreadableSample
from captionlake.models.data.release_index import ReleaseIndex
from captionlake.models.data.sample import record_turns

from .conftest import conversation, release_conversations, release_images


def test_images_with_their_first_caption(made: Path) -> None:
    data = ReleaseData.open(made / "lake", "tiles@1.0.0")
    assert (data.label, data.kind, len(data)) == ("tiles@1.0.0", "images", 38)
    assert data.left_out == {"no caption": 2} and data.missing == 2
    samples = [data[index] for index in range(len(data))]
    with Lake.open(made / "lake") as lake:
        assert data.content_sha256 == find_release(lake, "tiles@1.0.0").content_sha256
        rows = lake.rows(
            "SELECT r.position, r.source || '/' || r.source_key, r.image_id, c.text FROM release_items r "
            "JOIN release_captions rc USING (name, version, position) JOIN captions c USING (caption_id) "
            "WHERE r.name = 'tiles' AND r.version = '1.0.0' AND ordinal = 0 ORDER BY 1"
        )
        assert [(s.position, s.key, s.images, s.turns) for s in samples] == [
            (position, key, (lake.picture(image_id),), (("human", "<image>"), ("gpt", text)))
            for position, key, image_id, text in rows
        ]
    assert data.text_chars().tolist() == [sum(len(text) for _, text in s.turns) for s in samples]
    assert data.modalities().all() and len(data.modalities()) == 38
    with pytest.raises(IndexError):
        data[38]


def test_a_sample_for_each_caption(made: Path) -> None:
    data = ReleaseData.open(made / "lake", "tiles@1.0.0", captions="all")
    assert len(data) == 39
    texts = [data[index].turns[1][1] for index in (4, 5)]
    assert data[4].position == data[5].position == 5 and 'Zweite: Ä\u0001"' in texts and len(set(texts)) == 2
    assert data.text_chars()[[4, 5]].tolist() == [len(text) + 7 for text in texts]


def test_splits(made: Path) -> None:
    sizes = {
        split: len(ReleaseData.open(made / "lake", "tiles@2.0.0", split=split)) for split in ("train", "test", None)
    }
    assert sizes == {"train": 28, "test": 10, None: 38}
    with pytest.raises(CaptionlakeError, match=r"split nowhere of tiles@2\.0\.0 has no row .* release show"):
        ReleaseData.open(made / "lake", "tiles@2.0.0", split="nowhere")


def test_conversations(made: Path) -> None:
    data = ReleaseData.open(made / "lake", "mix@1.0.0")
    assert (data.kind, len(data), data.left_out) == ("sft", 17, {"picture not in the lake": 2})
    samples = [data[index] for index in range(17)]
    assert [s.key for s in samples] == [*(f"p{n}" for n in range(12)), "t0", "t1", "t2", "15", "two"]
    assert samples[0].turns == (("human", "<image>\nWhat is it?"), ("gpt", "Answer p0"))
    assert samples[12].turns[0] == ("human", "Write a haiku.") and samples[12].images == ()
    tiles = [(made / f"pictures/{number:05d}.jpg").read_bytes() for number in range(12)]
    assert [s.images for s in samples[:12]] == [(tile,) for tile in tiles]
    assert samples[16].images == (tiles[1], tiles[2]) and samples[16].position == 18
    assert samples[16].turns[0][1] == "<image>\n<image>\nand \nCompare."
    assert data.modalities().tolist() == [bool(s.images) for s in samples]


def test_conversations_whose_marks_are_not_their_pictures_are_left_out(folder: Path, tmp_path: Path) -> None:
    rows = [
        conversation("good", "coco/00000.jpg"),
        conversation("no mark", "coco/00000.jpg", "What is it?"),
        conversation("no picture", None, "Write <image> in HTML."),
        conversation("no pictures", "coco/00000.jpg", "<image> or <image>?"),
    ]
    with Lake.open(folder) as lake:
        label = release_conversations(lake, rows, tmp_path, "2.0.0")
    data = ReleaseData.open(folder, label)
    assert [data[i].key for i in range(len(data))] == ["good"] and data.left_out == {"not one <image> a picture": 3}
    with pytest.raises(UnreadableSample, match="says <image> 0 times"):
        record_turns(rows[1], 1)


def test_nothing_to_train_on(folder: Path, tmp_path: Path) -> None:
    with Lake.open(folder) as lake:
        bare = release_images(lake, "3.0.0", producers=[])
        elsewhere = release_conversations(
            lake, [conversation("a", "coco/nowhere.jpg"), conversation("t", None, "Hi")], tmp_path, "3.0.0"
        )
    with pytest.raises(
        CaptionlakeError, match="has no captions: caption its pictures with  captionlake caption RECIPE"
    ):
        ReleaseData.open(folder, bare)
    with pytest.raises(CaptionlakeError, match="has no picture in the lake: 1 rows name some; ingest them"):
        ReleaseData.open(folder, elsewhere)
    with pytest.raises(CaptionlakeError, match="no release nothing@"):
        ReleaseData.open(folder, "nothing@1.0.0")


@pytest.mark.parametrize(
    ("label", "change"),
    [
        ("tiles@1.0.0", "UPDATE captions SET text = text || '!' WHERE source_key = '00007.jpg'"),
        ("tiles@1.0.0", "UPDATE release_items SET row_sha256 = md5('x') WHERE position = 7"),
        ("tiles@1.0.0", "UPDATE release_items SET split = 'test' WHERE position = 7"),
        ("tiles@1.0.0", "DELETE FROM release_items WHERE position = 7"),
        ("tiles@1.0.0", "UPDATE releases SET content_sha256 = md5('x')"),
        ("mix@1.0.0", "UPDATE conversations SET turns = '[]' WHERE origin LIKE '%:3'"),
        ("mix@1.0.0", "DELETE FROM release_items WHERE name = 'mix' AND position = 18"),
    ],
)
def test_what_does_not_verify_is_refused(folder: Path, label: str, change: str) -> None:
    with Lake.open(folder) as lake:
        lake.commit(lambda c: c.execute(change))
    with pytest.raises(CaptionlakeError, match=f"{label} does not verify: .* run  captionlake release verify {label}"):
        ReleaseData.open(folder, label)


def test_what_was_opened_before_is_verified_again(folder: Path) -> None:
    ReleaseData.open(folder, "tiles@1.0.0")
    with Lake.open(folder) as lake:
        lake.commit(lambda c: c.execute("UPDATE release_items SET split = 'test' WHERE position = 7"))
    with pytest.raises(CaptionlakeError, match="does not verify"):
        ReleaseData.open(folder, "tiles@1.0.0")


def arrow_file(folder: Path) -> Path:
    (path,) = (cache_folder(folder) / "releases").glob("tiles@1.0.0-*.arrow")
    return path


def test_a_caption_that_came_later_does_not_reach_the_release(folder: Path) -> None:
    before = ReleaseData.open(folder, "tiles@1.0.0")[0]
    with Lake.open(folder) as lake:
        lake.commit(
            lambda c: c.execute(
                "INSERT INTO captions BY NAME SELECT * REPLACE ('new' AS caption_id) FROM captions LIMIT 1"
            )
        )
    assert ReleaseData.open(folder, "tiles@1.0.0")[0] == before


@pytest.mark.parametrize("damage", ["cut", "changed", "empty"])
def test_a_damaged_cache_is_made_anew(folder: Path, damage: str) -> None:
    before = ReleaseData.open(folder, "tiles@1.0.0")
    whole = [before[i] for i in range(38)]
    path = arrow_file(folder)
    good = path.read_bytes()
    path.write_bytes(
        {"cut": good[:1000], "changed": good.replace(b"Tile number 8", b"Pile number 8"), "empty": b""}[damage]
    )
    data = ReleaseData.open(folder, "tiles@1.0.0")
    assert [data[i] for i in range(38)] == whole and path.read_bytes() == good


def test_the_cache_may_be_deleted_and_other_versions_share_nothing(folder: Path) -> None:
    first = ReleaseData.open(folder, "tiles@1.0.0")
    shutil.rmtree(cache_folder(folder))
    second = ReleaseData.open(folder, "tiles@2.0.0")
    assert len(first) == 38 and len(second) == 28  # mapped files outlive their names
    names = sorted(path.suffix for path in (cache_folder(folder) / "releases").iterdir())
    assert names == [".arrow", ".lock", ".npy"]


def test_ranks_that_open_at_once_make_the_rows_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []
    shutil.rmtree(cache_folder(folder), ignore_errors=True)

    def write(self: ReleaseIndex) -> None:
        made.append(self.rows)
        plain(self)

    plain = ReleaseIndex._write
    monkeypatch.setattr(ReleaseIndex, "_write", write)
    with ThreadPoolExecutor(3) as pool:
        opened = list(pool.map(lambda _: ReleaseData.open(folder, "tiles@1.0.0"), range(3)))
    assert len(made) == 1 and opened[0][37] == opened[1][37] == opened[2][37]


def test_workers_get_paths_not_rows(made: Path) -> None:
    data = ReleaseData.open(made / "lake", "tiles@1.0.0")
    data[0]
    sent = pickle.dumps(data)
    again = pickle.loads(sent)  # noqa: S301 - what was pickled the line before
    assert len(sent) < 2000 and again[5] == data[5] and np.array_equal(again.text_chars(), data.text_chars())


def test_a_lake_that_cannot_be_written_to(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.rmtree(cache_folder(folder), ignore_errors=True)
    cache_folder(folder).write_text("a file stands where the folder should")  # root may write to any folder
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    data = ReleaseData.open(folder, "tiles@1.0.0")
    assert data[0].position == 0 and pickle.loads(pickle.dumps(data))[0] == data[0]  # noqa: S301
    assert list(tmp_path.glob("captionlake-*"))
    del data
    assert not list(tmp_path.glob("captionlake-*"))


def shard_of(folder: Path) -> Path:
    return folder / "images" / "shard-000001.parquet"


def test_missing_and_short_shards_are_named(folder: Path) -> None:
    with shard_of(folder).open("rb+") as file:
        file.truncate(5000)
    with pytest.raises(
        CaptionlakeError, match=r"1 shards of tiles@1\.0\.0 are missing or cut short .*shard-000001.* 40 of its"
    ):
        ReleaseData.open(folder, "tiles@1.0.0")
    shard_of(folder).unlink()
    with pytest.raises(CaptionlakeError, match="restore them from a backup"):
        ReleaseData.open(folder, "mix@1.0.0")


def damage(folder: Path, key: str) -> None:
    """Change one byte of a picture."""
    with Lake.open(folder) as lake:
        ((offset, n_bytes),) = lake.rows('SELECT "offset", n_bytes FROM images WHERE source_key = ?', [key])
    with shard_of(folder).open("rb+") as file:
        byte = os.pread(file.fileno(), 1, offset + n_bytes // 2)
        os.pwrite(file.fileno(), bytes([byte[0] ^ 1]), offset + n_bytes // 2)


def test_damaged_bytes_are_never_given(folder: Path) -> None:
    damage(folder, "00004.jpg")
    data = ReleaseData.open(folder, "tiles@1.0.0")
    with pytest.raises(UnreadableSample, match=r"tiles@1\.0\.0 row 4: .*bytes are not those") as caught:
        data[3]
    assert (caught.value.position, caught.value.key, caught.value.reason) == (4, "folder-coco/00004.jpg", "damaged")
    assert data[4].position == 5
    with pytest.raises(CaptionlakeError, match="does not verify: 1 problems"):
        ReleaseData.open(folder, "tiles@1.0.0", verify="pictures")
