"""What a source lacks: expected, present and failed by archive; keys that clash; what an ingest would do."""

import csv
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from captionlake.lake import Lake
from captionlake.lake.ingest import ingest
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.ingest_preview import preview, preview_lines
from captionlake.lake.status import status

from .image_server import ImageServer, jpeg


def config(source: str, *inputs: Path, **options: object) -> IngestConfig:
    given = {"source": source, "inputs": list(map(str, inputs)), "allow_private_hosts": True} | options
    return IngestConfig(**given)  # type: ignore[arg-type]


def annotations(path: Path, numbers: range, base: str = "http://pictures.invalid/train2017") -> Path:
    """A COCO file of some images, one caption each."""
    images = [{"id": n, "file_name": f"{n:012d}.jpg", "coco_url": f"{base}/{n:012d}.jpg"} for n in numbers]
    texts = [{"id": n, "image_id": n, "caption": f"Picture {n}"} for n in numbers]
    path.write_text(json.dumps({"images": images, "annotations": texts, "licenses": []}))
    return path


def zipped(path: Path, pictures: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, data in pictures.items():
            file.writestr(name, data)
    return path


def test_expected_present_and_failed_by_archive(
    lake: Lake, tmp_path: Path, tiles: Callable[[int], list[bytes]]
) -> None:
    data = tiles(6)
    names = [f"{n:012d}.jpg" for n in range(8)]
    first = zipped(tmp_path / "a.zip", dict(zip(names[:3], [data[0], data[1], b"no picture"], strict=True)))
    second = zipped(tmp_path / "b.zip", dict(zip(names[3:6], data[3:6], strict=True)))
    listed = annotations(tmp_path / "captions.json", range(8))
    ingest(lake, config("coco", listed, archives=[str(first), str(second)]))
    found = status(lake, "coco")[0]
    assert (found.expected, found.present, found.failed) == (8, 5, 3)
    parts = {p.part: (p.expected, p.present, p.failed, p.reasons) for p in found.parts}
    # Pictures that are in neither zip are looked for in the first.
    assert parts == {"a.zip": (5, 2, 3, {"missing_member": 2, "not_an_image": 1}), "b.zip": (3, 3, 0, {})}
    assert not status(lake)[0].parts


def test_an_interrupted_list_is_expected_whole(
    lake: Lake, tmp_path: Path, tiles: Callable[[int], list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import captionlake.lake.ingest_job as job

    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, data in enumerate(tiles(9)):
        (folder / f"{number}.jpg").write_bytes(data)
    (folder / "9.jpg").write_bytes(b"")
    monkeypatch.setattr(job, "PICTURES_PER_SHARD", 4)

    class Stopped(Exception):
        pass

    def stop(_done: int) -> None:
        raise Stopped

    class Progress:
        def __enter__(self) -> Callable[[int], None]:
            return stop

        def __exit__(self, *_: object) -> None: ...

    with monkeypatch.context() as patch:
        patch.setattr(job, "progress", lambda *_: Progress())
        with pytest.raises(Stopped):
            ingest(lake, config("folder", folder))
    found = status(lake, "folder")[0]
    assert found.expected == 10
    assert 0 < found.present < 9
    ingest(lake, config("folder", folder))
    found = status(lake, "folder")[0]
    assert (found.expected, found.present, found.failed) == (10, 9, 1)


def test_ids_that_collide_across_splits(lake: Lake, tmp_path: Path, tiles: Callable[[int], list[bytes]]) -> None:
    with ImageServer() as server:
        for split in ("train2014", "val2014"):
            for n in range(3):
                server.add(f"/{split}/{n:012d}.jpg", jpeg(n + 10 * (split == "val2014")))
        train = annotations(tmp_path / "train.json", range(3), server.url("/train2014"))
        val = annotations(tmp_path / "val.json", range(2), server.url("/val2014"))
        first = ingest(lake, config("coco", train))
        assert (first.images, first.failures) == (3, 0)
        second = ingest(lake, config("coco", val))
        assert (second.listed, second.present, second.failures) == (2, 0, 2)
        rows = lake.rows("SELECT source_key, reason, detail FROM fetch_failures ORDER BY 1")
        assert [key.partition("#")[0] for key, *_ in rows] == ["000000000000.jpg", "000000000001.jpg"]
        assert {reason for _, reason, _ in rows} == {"bad_row"}
        assert rows[0][2] == "another picture under the name of 000000000000.jpg, which was taken"
        again = ingest(lake, config("coco", val))
        assert (again.failed_before, again.failures, again.captions) == (2, 0, 0)
        assert lake.value("SELECT count(*) FROM captions") == 3


def test_one_key_for_two_pictures_of_a_list(lake: Lake, tmp_path: Path) -> None:
    path = tmp_path / "list.jsonl"
    rows = [
        {"id": 1, "file_name": "a.jpg", "coco_url": "http://127.0.0.1:9/x/a.jpg"},
        {"id": 2, "file_name": "a.jpg", "coco_url": "http://127.0.0.1:9/y/a.jpg"},
    ]
    path.write_text(json.dumps({"images": rows, "annotations": []}))
    counts = ingest(lake, config("coco", path))
    assert (counts.listed, counts.failures) == (2, 2)
    assert sorted(reason for (reason,) in lake.rows("SELECT reason FROM fetch_failures")) == ["bad_row", "connection"]


def web_list(path: Path, urls: list[str]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["url", "name"], *([url, f"Subject {n}"] for n, url in enumerate(urls))])
    return path


def test_the_plan_says_what_the_ingest_then_does(lake: Lake, tmp_path: Path) -> None:
    with ImageServer() as server:
        urls = [server.add(f"/{n}.jpg", jpeg(n)) for n in range(8)] + [server.url("/gone.jpg")]
        listed = web_list(tmp_path / "list.csv", urls)
        first = preview(lake, config("web", listed))
        assert (first.listed, first.fetch, first.present) == (9, 9, 0)
        assert first.bytes_fetch is None and first.seconds is None and first.bytes_disk is None
        assert "not measured in this lake yet" in preview_lines(first)
        assert server.connections == 0, "a plan asks no server"
        assert lake.rows("SELECT count(*) FROM runs UNION ALL SELECT count(*) FROM sources") == [(0,), (0,)]

        ingest(lake, config("web", listed, limit=4))
        mean = lake.value("SELECT avg(n_bytes) FROM images")
        plan = preview(lake, config("web", listed))
        assert (plan.listed, plan.fetch, plan.present) == (9, 5, 4)
        assert plan.hosts == {f"127.0.0.1:{server.port}": 5}
        assert plan.bytes_fetch == round(5 * mean) == plan.bytes_disk
        seconds, fetched = lake.rows(
            "SELECT counts->>'fetch_seconds', counts->>'fetched' FROM runs WHERE step = 'ingest'"
        )[0]
        assert plan.seconds == round(5 * float(seconds) / int(fetched)) and int(fetched) == 4
        lines = preview_lines(plan)
        assert lines.startswith("web: 9 listed: 5 to fetch, 4 present\nhosts: 127.0.0.1:")

        counts = ingest(lake, config("web", listed))
        assert counts.images + counts.failures == plan.fetch
        done = preview(lake, config("web", listed))
        assert (done.fetch, done.present, done.failed_before, done.seconds) == (0, 8, 1, 0)
        again = preview(lake, config("web", listed, retry_failed=True))
        assert (again.fetch, again.failed_before) == (1, 0)


def test_the_plan_knows_the_bytes_of_members(lake: Lake, tmp_path: Path, tiles: Callable[[int], list[bytes]]) -> None:
    data = tiles(4)
    archive = zipped(tmp_path / "train2017.zip", {f"train2017/{n:012d}.jpg": data[n] for n in range(4)})
    listed = annotations(tmp_path / "captions.json", range(4))
    plan = preview(lake, config("coco", listed, archives=[str(archive)]))
    assert (plan.read, plan.fetch) == (4, 0)
    assert plan.bytes_read == sum(map(len, data))
