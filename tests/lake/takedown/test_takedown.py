"""A takedown on a lake that holds a picture in every way a lake can, and a search of the whole folder by other readers."""

import base64
import fcntl
import io
import json
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

from captionlake.cli import captionlake
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.exports.forms import export_release
from captionlake.lake.ingest import ingest
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.releases.config import ReleaseConfig
from captionlake.lake.releases.gc import collect
from captionlake.lake.releases.release import Draft, create_release, find_release
from captionlake.lake.releases.verification import verify_release
from captionlake.lake.releases.views import create_release_views
from captionlake.lake.runs import note_run
from captionlake.lake.sft.importing import import_conversations
from captionlake.lake.sft.sft_release import SftDraft, create_sft_release
from captionlake.lake.takedown import removal
from captionlake.lake.takedown.finding import Request, find
from captionlake.lake.takedown.needles import picture_needle, text_needle
from captionlake.lake.takedown.scan import scan
from captionlake.lake.takedown.tombstone import tombstones

KEY = "zebra-crossing-7.jpg"  # of the picture that goes; no other text has it
URL = "http://pictures.example/zebra/seven?a=1&b=ü"
CAPTION = "A caption that nothing else in this lake says of seven zebras"


@dataclass(frozen=True, slots=True)
class Case:
    """The lake, the picture that goes, and its bytes on a disk outside of it."""

    path: Path
    image_id: str
    file: Path


@pytest.fixture(scope="session")
def made(
    new_lake: Callable[[Path], Lake], tiles: Callable[[int], list[bytes]], tmp_path_factory: pytest.TempPathFactory
) -> Case:
    """Twelve pictures of COCO; one of them will go."""
    root = tmp_path_factory.mktemp("takedown")
    folder = root / "pictures"
    folder.mkdir()
    names = [KEY if number == 7 else f"{number:05}.jpg" for number in range(12)]
    lines = ["file_name,caption"]
    for number, (name, data) in enumerate(zip(names, tiles(12), strict=True)):
        (folder / name).write_bytes(data)
        lines.append(f"{name},{CAPTION if name == KEY else f'Tile number {number} of a photograph'}")
    (folder / "metadata.csv").write_text("\n".join(lines))
    with new_lake(root / "lake") as lake:
        ingest(lake, IngestConfig(source="folder", inputs=[str(folder)], collection="coco", redistribute="bytes"))
        (image_id,) = lake.rows("SELECT image_id FROM images WHERE source_key = ?", [KEY])[0]
        lake.commit(lambda c: c.execute("UPDATE images SET url = ? WHERE source_key = ?", [URL, KEY]))
        _fill(lake, image_id, root)
        _release(lake, "1.0.0", "true")
        _release(lake, "2.0.0", f"source_key <> '{KEY}'")
    return Case(root / "lake", image_id, folder / KEY)


@pytest.fixture
def case(made: Case, tmp_path: Path) -> Case:
    """A lake to take from."""
    shutil.copytree(made.path, tmp_path / "lake")
    return Case(tmp_path / "lake", made.image_id, made.file)


def _fill(lake: Lake, image_id: str, folder: Path) -> None:
    """Rows of the picture in the tables that ingest does not write."""
    conversations = [
        {
            "id": "a",
            "image": f"coco/train2017/{KEY}",
            "conversations": [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": CAPTION}],
        },
        {"id": "b", "conversations": [{"from": "human", "value": "Hello?"}, {"from": "gpt", "value": "Yes."}]},
    ]
    (folder / "mix.json").write_text(json.dumps(conversations))
    import_conversations(lake, folder / "mix.json")
    other = lake.value("SELECT min(image_id) FROM images WHERE source_key <> ?", [KEY])
    statements: list[tuple[str, list[Any]]] = [
        ("INSERT INTO embeddings SELECT image_id, 'm', [1.0, 0.0]::FLOAT[] FROM images", []),
        (
            "INSERT INTO similar_pairs VALUES (?, ?, 'm', 0.99, 'cosine'), (?, ?, 'm', 0.98, 'cosine')",
            [image_id, other, other, image_id],
        ),
        ("INSERT INTO contamination VALUES (?, 'mme', 'x', 1.0, 'sha256')", [image_id]),
        ("INSERT INTO caption_flags SELECT caption_id, 'too_short', ? FROM captions", ["found"]),
        ("INSERT INTO caption_checks SELECT caption_id, ['a=b'] FROM captions", []),
        ("INSERT INTO caption_scores SELECT caption_id, 'm', 1.0, false FROM captions", []),
        ("INSERT INTO publications VALUES ('tiles', '1.0.0', 'someone/tiles', 'abc', '{}', now())", []),
        (
            "UPDATE conversations SET image_ids = [?] WHERE list_contains(image_paths, ?)",
            [image_id, f"coco/train2017/{KEY}"],
        ),
        ("UPDATE runs SET detail = json_object('inputs', [?, ?])", [KEY, URL]),
    ]
    for statement, values in statements:
        lake.commit(lambda c, s=statement, v=values: c.execute(s, v))  # type: ignore[misc]
    (lake.path / "spool/teacher-000001.jsonl").write_text(
        "".join(
            json.dumps({"caption_id": i, "image_id": i, "text": CAPTION if i == image_id else "other"}) + "\n"
            for i in (other, image_id)
        )
    )
    # A batch's requests hold the picture, and say whose it is by the caption's id alone.
    data = base64.b64encode(lake.picture(image_id)).decode()
    (lake.path / "spool/batch-1.rows.jsonl").write_text(json.dumps({"caption_id": "ours", "image_id": image_id}) + "\n")
    (lake.path / "spool/batch-1.requests.jsonl").write_text(json.dumps({"custom_id": "ours", "body": data}) + "\n")
    (lake.path / "cache").mkdir(exist_ok=True)
    (lake.path / "cache/list.txt").write_text(f"{KEY} {image_id}")
    draft = SftDraft(
        config=ReleaseConfig(name="mix", version="1.0.0"),
        recipe="[mix]",
        snapshot=lake.snapshot(),
        items=lake.arrow(
            "SELECT row_number() OVER (ORDER BY origin) - 1 AS position, conversation_id FROM conversations"
        ),
    )
    create_sft_release(lake, draft)


def _turns(question: str, answer: str) -> list[dict[str, str]]:
    return [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]


def _release(lake: Lake, version: str, where: str) -> None:
    left = lake.arrow(
        "SELECT source, source_key, 'duplicate' AS reason, '' AS detail, source AS keeper_source, '00001.jpg' AS keeper_key, "
        f"1.0 AS similarity FROM images WHERE NOT ({where})"
    )
    items = lake.arrow(f"SELECT source, source_key, image_id, 'train' AS split FROM images WHERE {where}")
    config = ReleaseConfig(name="tiles", version=version)
    create_release(
        lake,
        Draft(
            config=config,
            recipe="[release]",
            snapshot=lake.snapshot(),
            items=items,
            exclusions=left,
            producers=["source"],
        ),
    )


def take(case: Case, **request: Any) -> str:
    """Carry a takedown out; its id."""
    with Lake.open(case.path) as lake:
        return removal.take_down(lake, find(lake, Request(**request)).hashes, "asked by its author").takedown_id


def left_anywhere(case: Case) -> list[str]:
    """Places of the lake's folder where a text or the bytes of the picture stand, by readers that are not the verifier's."""
    data = case.file.read_bytes()
    middle = data[len(data) // 2 :][:64]
    texts = [KEY, CAPTION, URL, "zebra/seven"]
    found = []
    for path in sorted(case.path.rglob("*")):
        if not path.is_file():
            continue
        raw = path.read_bytes()
        wanted = [*(text.encode() for text in texts), middle, middle.hex().encode(), base64.b64encode(data)[400:480]]
        found += [f"{path.name} raw" for needle in wanted if needle in raw]
        if path.suffix == ".parquet":
            rows = duckdb.sql(f"SELECT * FROM read_parquet('{path}', union_by_name = true)").fetchall()
            said = repr(rows)
            found += [f"{path.name} decoded" for text in texts if text in said]
            found += [
                f"{path.name} bytes" for row in rows for value in row if isinstance(value, bytes) and middle in value
            ]
        if path.name == "catalog.sqlite":
            with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as catalog:
                said = "\n".join(catalog.iterdump())
            found += [f"{path.name} dumped" for text in texts if text in said]
    return found


def test_nothing_is_left_of_it_anywhere(case: Case) -> None:
    assert len({place.split()[0] for place in left_anywhere(case)}) > 5  # the search finds it before
    take(case, image_ids=[case.image_id])
    assert left_anywhere(case) == []


def test_what_else_there_is_stays(case: Case) -> None:
    with Lake.open(case.path) as lake:
        before = lake.rows("SELECT * FROM images WHERE image_id <> ? ORDER BY source_key", [case.image_id])
    take(case, keys=[("folder-coco", KEY)])
    with Lake.open(case.path) as lake:
        assert lake.rows("SELECT * FROM images ORDER BY source_key") == before
        assert lake.value("SELECT count(*) FROM captions") == 11
        assert lake.value("SELECT count(*) FROM conversations") == 1
        assert lake.value("SELECT count(*) FROM embeddings") == 11
        assert lake.value("SELECT count(*) FROM similar_pairs") == 0
        lines = (case.path / "spool/teacher-000001.jsonl").read_text().splitlines()
        assert [json.loads(line)["text"] for line in lines] == ["other"]


def test_releases_say_what_they_lost(case: Case, tmp_path: Path) -> None:
    with Lake.open(case.path) as lake:
        hashes = {r: find_release(lake, r).content_sha256 for r in ("tiles@1.0.0", "tiles@2.0.0", "mix@1.0.0")}
    take(case, urls=[URL])
    with Lake.open(case.path) as lake:
        one, two, mix = (verify_release(lake, label) for label in hashes)
        assert (one.said, two.said, mix.said) == ("valid except 1 redacted", "valid", "valid except 1 redacted")
        assert [found.n_problems for found in (one, two, mix)] == [0, 0, 0]
        assert {label: find_release(lake, label).content_sha256 for label in hashes} == hashes
        assert [find_release(lake, label).state for label in hashes] == ["redacted", "valid", "redacted"]
        assert lake.value("SELECT count(*) FROM exclusions WHERE source_key = ?", [KEY]) == 0
        assert export_release(lake, "tiles@1.0.0", "parquet", tmp_path / "out").rows == 11
        with lake.connection.cursor() as cursor:
            cursor.execute("USE lake")
            create_release_views(cursor, "tiles", "1.0.0")
            assert cursor.execute("SELECT count(*), count(image_id) FROM items").fetchone() == (11, 11)


def test_the_receipt_names_what_must_be_done_elsewhere(case: Case, tmp_path: Path) -> None:
    with Lake.open(case.path) as lake:
        export_release(lake, "tiles@1.0.0", "webdataset", tmp_path / "tars")
        note_run(lake, "train", target="tiles@1.0.0", detail={"output": "checkpoints/mine"}, counts={})
        note_run(lake, "train", target="tiles@2.0.0", detail={"output": "checkpoints/other"}, counts={})
    take(case, image_ids=[case.image_id])
    with Lake.open(case.path) as lake:
        (one,) = tombstones(lake)
    assert one.is_done and one.reason == "asked by its author"
    assert one.touched["releases"] == {"mix@1.0.0": 1, "tiles@1.0.0": 1}
    assert one.touched["publications"] == [{"release": "tiles@1.0.0", "repo_id": "someone/tiles", "revision": "abc"}]
    assert one.touched["tables"]["captions"] == 1
    assert one.touched["models"] == [{"release": "tiles@1.0.0", "checkpoint": "checkpoints/mine"}]
    assert one.touched["exports"] == [{"release": "tiles@1.0.0", "folder": str(tmp_path / "tars")}]


def test_the_tombstone_holds_hashes_alone(case: Case) -> None:
    take(case, image_ids=[case.image_id])
    with Lake.open(case.path) as lake:
        said = repr(lake.rows("SELECT * FROM takedowns"))
    assert KEY not in said and URL not in said and CAPTION not in said


def test_it_cannot_come_back(case: Case, tmp_path: Path) -> None:
    take(case, image_ids=[case.image_id])
    again = tmp_path / "again"
    again.mkdir()
    (again / KEY).write_bytes(case.file.read_bytes())  # the same key
    (again / "renamed.jpg").write_bytes(case.file.read_bytes())  # the same bytes
    Image.new("RGB", (40, 40), "red").save(again / "new.png")
    with Lake.open(case.path) as lake:
        counts = ingest(lake, IngestConfig(source="folder", inputs=[str(again)], collection="coco"))
        assert (counts.listed, counts.images, counts.taken_down, counts.failures) == (3, 1, 1, 1)
        assert lake.rows("SELECT source_key, reason, url FROM fetch_failures") == [("renamed.jpg", "taken_down", None)]
        assert lake.value("SELECT count(*) FROM images WHERE image_id = ?", [case.image_id]) == 0
    assert [place for place in left_anywhere(case) if "bytes" in place] == []


def test_a_url_that_was_taken_down_is_not_fetched(case: Case, tmp_path: Path) -> None:
    take(case, urls=[URL])
    (tmp_path / "list.csv").write_text(f'url,name\n"{URL}",elsewhere\n')
    with Lake.open(case.path) as lake:
        counts = ingest(lake, IngestConfig(source="web", inputs=[str(tmp_path / "list.csv")], subset="landmark"))
    assert (counts.listed, counts.taken_down, counts.failures) == (1, 1, 0)


def test_what_looks_like_a_file_is_told_and_taken_when_asked(case: Case, tmp_path: Path) -> None:
    with Image.open(case.file) as picture:
        smaller = tmp_path / "smaller.webp"
        picture.resize((48, 48)).save(smaller)
    with Lake.open(case.path) as lake:
        told = find(lake, Request(like=[smaller]))
        assert not told.hashes and told.near[0].image_id == case.image_id and not told.near[0].taken
        taken = find(lake, Request(like=[smaller], within=told.near[0].bits))
        assert case.image_id in taken.hashes.image_ids
        assert find(lake, Request(like=[case.file])).hashes.image_ids == [case.image_id]


@pytest.mark.parametrize("request_", [{"urls": ["http://no"]}, {"image_ids": ["0" * 64]}, {"keys": [("folder", "no")]}])
def test_what_is_not_there_is_said(case: Case, request_: dict[str, Any]) -> None:
    with Lake.open(case.path) as lake, pytest.raises(CaptionlakeError, match="has nothing of"):
        find(lake, Request(**request_))


@pytest.mark.parametrize("step", ["_erase_bytes", "_erase_rows", "rewrite", "expire", "vacuum_catalog"])
def test_ended_before_any_step_it_is_finished_later(case: Case, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, Lake.open(case.path) as lake:
        patch.setattr(removal, step, stop)
        with pytest.raises(KeyboardInterrupt):
            removal.take_down(lake, find(lake, Request(image_ids=[case.image_id])).hashes, "asked")
    with Lake.open(case.path) as lake:
        (one,) = removal.unfinished(lake)
        removal.resume(lake, one)
        assert removal.unfinished(lake) == []
    assert left_anywhere(case) == []


def test_the_verifier_finds_what_is_planted(case: Case, tmp_path: Path) -> None:
    takedown_id = take(case, image_ids=[case.image_id])
    data = case.file.read_bytes()
    needles = [text_needle(URL), text_needle(KEY), picture_needle(case.file)]
    with Lake.open(case.path) as lake:
        (one,) = tombstones(lake)
        assert one.takedown_id == takedown_id
        clean = scan(lake, one.hashes, needles)
        assert clean.left == [] and clean.values > 100 and {"picture shard", "table", "catalog"} <= set(clean.files)

        def found(plant: Callable[[Path], object], name: str) -> bool:
            path = lake.path / name
            plant(path)
            left = scan(lake, one.hashes, needles).left
            path.unlink()
            return any(name in place for place in left)

        def packed(path: Path) -> None:
            import zipfile

            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("a.json", json.dumps({"url": URL}))

        table = pl.DataFrame({"rows": [[{"text": f"see {URL} there"}]] * 50})
        assert found(lambda path: table.write_parquet(path, compression="zstd"), "data/planted.parquet")
        assert found(lambda path: path.write_bytes(b"x" * 999 + data[100:]), "staging/planted.bin")
        assert found(lambda path: path.write_text(base64.b64encode(b"ab" + data).decode()), "cache.txt")
        assert found(lambda path: path.write_text(case.image_id), "spool/teacher-000009.jsonl")
        assert found(packed, "staging/planted.zip")
        pictures = pl.DataFrame({"image_id": ["x"], "bytes": [data]})
        assert found(lambda path: pictures.write_parquet(path, compression="zstd"), "images/shard-999999.parquet")
        lake.commit(
            lambda c: c.execute(
                "INSERT INTO captions (caption_id, image_id, kind, producer, text, chars, words, created_at) "
                "VALUES ('c', ?, 'human', 'x', 'y', 1, 1, now())",
                [case.image_id],
            )
        )
        assert any(place.startswith("table captions") for place in scan(lake, one.hashes).left)


def test_a_shard_that_no_row_names_is_erased_too(case: Case) -> None:
    stray = case.path / "images/shard-000900.parquet"
    with Lake.open(case.path) as lake:
        (shard,) = lake.rows("SELECT shard FROM images WHERE image_id = ?", [case.image_id])[0]
    stray.write_bytes((case.path / "images" / shard).read_bytes())
    take(case, image_ids=[case.image_id])
    rows = {row["image_id"]: row["bytes"] for row in pq.read_table(stray).to_pylist()}
    assert set(rows[case.image_id]) == {0}
    assert all(Image.open(io.BytesIO(data)).size for image_id, data in rows.items() if image_id != case.image_id)
    assert left_anywhere(case) == []


@pytest.mark.parametrize("place", ["staging/ingest-1.lock", "spool/teacher.lock"])
def test_another_process_at_work_is_waited_for(case: Case, place: str) -> None:
    held = (case.path / place).open("ab")
    fcntl.flock(held, fcntl.LOCK_EX)
    with held, Lake.open(case.path) as lake, pytest.raises(CaptionlakeError, match="another process is at work"):
        removal.take_down(lake, find(lake, Request(image_ids=[case.image_id])).hashes, "asked")


def test_a_reader_goes_on_meanwhile(case: Case) -> None:
    with Lake.open(case.path) as reader:
        assert reader.value("SELECT count(*) FROM images") == 12
        take(case, image_ids=[case.image_id])
        assert reader.value("SELECT count(*) FROM images") == 11
        with pytest.raises(CaptionlakeError, match="was taken down"):
            reader.picture(case.image_id)


def test_the_commands(case: Case) -> None:
    def run(*arguments: str, status: int = 0) -> str:
        done = CliRunner().invoke(captionlake, ["takedown", *arguments, "--lake", str(case.path)])
        if status:
            assert isinstance(done.exception, CaptionlakeError)
            return str(done.exception)
        assert done.exit_code == 0, done.exception
        return done.output

    shown = run("--url", URL, "--dry-run")
    assert KEY in shown and "tiles@1.0.0" in shown and "published: tiles@1.0.0 as someone/tiles" in shown
    assert "--reason" in run("--url", URL, status=1)
    assert "--yes" in run("--url", URL, "--reason", "asked", status=1)
    done = json.loads(run("--url", URL, "--reason", "asked", "--yes", "--json"))
    assert done["removed"] and done["touched"]["state"] == "done"
    assert "nothing of takedown" in run(
        "--verify", done["takedown_id"], "--url", URL, "--like", str(case.file), "--source-key", f"folder-coco:{KEY}"
    )
    assert "asked" in run("--list") and "every takedown is done" in run("--resume")
    (case.path / "left.txt").write_text(f"from {URL}")
    assert "left.txt" in run("--verify", done["takedown_id"], "--url", URL, status=1)


def test_gc_after_it_leaves_the_releases_whole(case: Case) -> None:
    take(case, image_ids=[case.image_id])
    with Lake.open(case.path) as lake:
        collect(lake, keep_days=0)
        assert verify_release(lake, "tiles@1.0.0").said == "valid except 1 redacted"
        assert np.prod([verify_release(lake, label).n_problems == 0 for label in ("tiles@2.0.0", "mix@1.0.0")])
