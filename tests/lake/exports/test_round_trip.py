"""An export comes back: into an empty lake, through ``datasets``, with holes and without what was held back."""

import hashlib
import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from captionlake.cli import captionlake
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.exports.forms import export_release
from captionlake.lake.ingest import ingest
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.ingest_counts import IngestCounts
from captionlake.lake.ingest_exported import release_of_ingest
from captionlake.lake.ingest_preview import preview
from captionlake.lake.releases.config import ReleaseConfig
from captionlake.lake.releases.release import Draft, Release, create_release, find_release
from captionlake.lake.releases.verification import verify_release
from captionlake.lake.takedown.finding import Request, find
from captionlake.lake.takedown.removal import take_down

from ..image_server import ImageServer, jpeg

NewLake = Callable[[Path], Lake]
NOW = datetime(2024, 5, 17, 12, 30, 1, 234567, tzinfo=UTC)
RECIPE = '[release]\nname = "small"\n# "quoted" – ü\n'
TABLES = {
    "sources": "SELECT * FROM sources ORDER BY ALL",
    "images": "SELECT source, source_key, collection, subset, image_id, url, license, author, width, height, format, n_bytes, phash "
    "FROM images ORDER BY ALL",
    "captions": "SELECT caption_id, image_id, source, source_key, kind, producer, producer_revision, prompt_id, prompt_sha256, text, "
    "chars, words, params, license, created_at FROM captions ORDER BY ALL",
    "items": "SELECT name, version, position, source, source_key, image_id, split, row_sha256 FROM release_items ORDER BY ALL",
    "its captions": "SELECT name, version, position, ordinal, caption_id, role FROM release_captions ORDER BY ALL",
    "releases": "SELECT name, version, kind, recipe, recipe_sha256, content_sha256, n_items, state FROM releases ORDER BY ALL",
}


def state(lake: Lake, *left_out: str) -> dict[str, list[tuple[Any, ...]]]:
    """What must be the same in both lakes."""
    return {name: lake.rows(query) for name, query in TABLES.items() if name not in left_out}


def change(lake: Lake, query: str, *values: str) -> None:
    lake.commit(lambda connection: connection.execute(query, values))


def teacher(lake: Lake, texts: list[str | None]) -> None:
    """A caption by a model of each picture that has a text here, in order of image_id."""
    ids = [image_id for (image_id,) in lake.rows("SELECT DISTINCT image_id FROM images ORDER BY 1")]
    rows = [
        {
            "caption_id": hashlib.sha256(f"{image_id} {text}".encode()).hexdigest()[:32],
            "image_id": image_id,
            "kind": "teacher",
            "producer": "gpt-4-vision-preview",
            "producer_revision": "2023-11-06",
            "prompt_id": "sharegpt4v/web",
            "prompt_sha256": "ab" * 32,
            "text": text,
            "chars": len(text),
            "words": len(text.split()),
            "params": json.dumps({"temperature": 1.0, "note": text[:3]}, ensure_ascii=False),
            "created_at": NOW + timedelta(seconds=number),
        }
        for number, (image_id, text) in enumerate(zip(ids, texts, strict=False))
        if text is not None
    ]
    if rows:
        lake.append("captions", pa.Table.from_pylist(rows), ["caption_id"])


def release(
    lake: Lake, version: str = "1.0.0", splits: str = "CASE WHEN image_id < '8' THEN 'train' ELSE 'test' END"
) -> Release:
    """All pictures with all captions."""
    none = dict.fromkeys(("source", "source_key", "reason", "detail", "keeper_source", "keeper_key"), pl.String)
    draft = Draft(
        config=ReleaseConfig(name="small", version=version),
        recipe=RECIPE,
        snapshot=lake.snapshot(),
        items=lake.arrow(f"SELECT source, source_key, image_id, {splits} AS split FROM images"),
        exclusions=pl.DataFrame(schema={**none, "similarity": pl.Float64}).to_arrow(),
        producers=["source", "gpt-4-vision-preview"],
    )
    return create_release(lake, draft)[0]


def back(lake: Lake, *inputs: Path, **options: Any) -> IngestCounts:
    return ingest(lake, IngestConfig(source="hf", inputs=[str(one) for one in inputs], **options))


def released(lake: Lake, *inputs: Path, label: str = "small@1.0.0") -> tuple[Release, bool]:
    return release_of_ingest(lake, IngestConfig(source="hf", inputs=[str(one) for one in inputs]), label)


@pytest.fixture
def made(lake: Lake, tile_folder: Callable[[int], Path], tmp_path: Path) -> Lake:
    """Twelve pictures of COCO and five of the web, two of them the same bytes, most with captions; small@1.0.0 of all, in two splits."""
    folder = tile_folder(12)
    coco = IngestConfig(
        source="folder",
        inputs=[str(folder)],
        collection="coco",
        redistribute="bytes",
        license="CC-BY-4.0",
        license_url="https://example.org/by",
        citation="@misc{a}\n",
        title="Ünïque",
    )
    ingest(lake, coco)
    (tmp_path / "web").mkdir()
    for number in range(4):
        (tmp_path / "web" / f"ä {number}.jpg").write_bytes(jpeg(number))
    shutil.copy(folder / "00003.jpg", tmp_path / "web" / "same.jpg")
    ingest(lake, IngestConfig(source="folder", inputs=[str(tmp_path / "web")], subset="landmark", redistribute="bytes"))
    teacher(lake, [f'Text "{n}"\nof two\tlines, 🦓 ü' if n % 3 else None for n in range(16)])
    release(lake)
    return lake


def test_into_an_empty_lake_and_out_again(made: Lake, new_lake: NewLake, tmp_path: Path) -> None:
    assert export_release(made, "small@1.0.0", "parquet", tmp_path / "out").rows == 17
    with new_lake(tmp_path / "other") as other:
        counts = back(other, tmp_path / "out")
        assert (counts.listed, counts.images, counts.failures) == (17, 17, 0)
        one, new = released(other, tmp_path / "out")
        assert new and one.content_sha256 == find_release(made, "small@1.0.0").content_sha256
        assert state(other) == state(made)
        assert other.rows("SELECT image_id, bytes FROM image_bytes ORDER BY 1") == made.rows(
            "SELECT image_id, bytes FROM image_bytes ORDER BY 1"
        )
        found = verify_release(other, "small@1.0.0")
        assert (found.n_problems, found.n_pictures, found.said) == (0, 16, "valid")
        export_release(other, "small@1.0.0", "parquet", tmp_path / "again")
        for path in sorted((tmp_path / "out/data").iterdir()):
            assert pq.read_table(path).equals(pq.read_table(tmp_path / "again/data" / path.name), check_metadata=True)


def test_once_more_changes_nothing(made: Lake, new_lake: NewLake, tmp_path: Path) -> None:
    """In another lake, and in the one that it comes from."""
    export_release(made, "small@1.0.0", "parquet", tmp_path / "out")
    before = state(made)
    with new_lake(tmp_path / "other") as other:
        for lake, runs in ((made, 1), (other, 2)):
            for _ in range(runs):
                counts = back(lake, tmp_path / "out")
            assert (counts.listed, counts.present, counts.captions) == (17, 17, 0)
            plan = preview(lake, IngestConfig(source="hf", inputs=[str(tmp_path / "out")]))
            assert (plan.listed, plan.present, plan.read, plan.fetch) == (17, 17, 0, 0)
            released(lake, tmp_path / "out")
            assert not released(lake, tmp_path / "out")[1]
            assert state(lake) == before


def test_through_datasets(made: Lake, new_lake: NewLake, tmp_path: Path) -> None:
    """Which drops what the files said of release and sources, and writes all splits into files of other names."""
    from datasets import load_dataset

    export_release(made, "small@1.0.0", "parquet", tmp_path / "out")
    loaded = load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    (tmp_path / "written").mkdir()
    for split, rows in loaded.items():
        rows.shuffle(seed=1).to_parquet(str(tmp_path / "written" / f"part-{split}.parquet"))
    assert b"captionlake" not in pq.read_schema(tmp_path / "written/part-train.parquet").metadata
    with new_lake(tmp_path / "other") as other:
        counts = back(other, tmp_path / "written")
        assert (counts.images, counts.failures) == (17, 0)
        assert (
            released(other, tmp_path / "written")[0].content_sha256 == find_release(made, "small@1.0.0").content_sha256
        )
        assert state(other, "sources", "releases") == state(made, "sources", "releases")
        described = "SELECT source, collection, redistribute FROM sources ORDER BY ALL"
        assert other.rows(described) == made.rows(described)
        assert verify_release(other, "small@1.0.0").n_problems == 0


def test_pictures_held_back_are_fetched_or_told(made: Lake, new_lake: NewLake, tmp_path: Path) -> None:
    """Of the web, one comes from its URL, one has other bytes there now, one is gone there, and two have no URL."""
    with ImageServer() as server:
        keys = [f"ä {number}.jpg" for number in range(4)]
        urls = [server.add("/0.jpg", jpeg(0)), server.add("/1.jpg", jpeg(7)), server.url("/status/404")]
        change(made, "UPDATE sources SET redistribute = 'urls' WHERE source = 'folder'")
        for key, url in zip(keys, urls, strict=False):
            change(made, "UPDATE images SET url = ? WHERE source_key = ?", url, key)
        release(made, "1.1.0")
        assert export_release(made, "small@1.1.0", "parquet", tmp_path / "out").withheld == 5
        with new_lake(tmp_path / "other") as other:
            plan = preview(other, IngestConfig(source="hf", inputs=[str(tmp_path / "out")]))
            assert (plan.listed, plan.read, plan.fetch, plan.bad) == (17, 12, 3, 2)
            counts = back(other, tmp_path / "out", allow_private_hosts=True)
            assert (counts.listed, counts.images, counts.fetched, counts.failures) == (17, 13, 1, 4)
            assert counts.reasons == {"bad_row": 2, "changed": 1, "not_found": 1}
            failed = dict(other.rows("SELECT source_key, reason || ': ' || coalesce(detail, '') FROM fetch_failures"))
            assert failed["ä 1.jpg"].startswith("changed: the picture has other bytes now")
            image_id = made.value("SELECT image_id FROM images WHERE source_key = 'same.jpg'")
            assert image_id in failed["same.jpg"] and "was not passed on (urls)" in failed["same.jpg"]
            with pytest.raises(
                CaptionlakeError, match=r"lacks the pictures of 4 of 17 rows, the first is .*--retry-failed"
            ):
                released(other, tmp_path / "out", label="small@1.1.0")
            assert other.rows("SELECT * FROM releases") == []
            # from an export for one's own use they come after all
            export_release(made, "small@1.1.0", "parquet", tmp_path / "own", own_use=True)
            assert back(other, tmp_path / "own").failed_before == 4
            assert back(other, tmp_path / "own", retry_failed=True).images == 4
            assert other.rows("SELECT * FROM fetch_failures") == []
            released(other, tmp_path / "out", label="small@1.1.0")
            assert state(other, "items", "its captions", "releases") == state(made, "items", "its captions", "releases")
            assert verify_release(other, "small@1.1.0").n_problems == 0


def test_holes_stay_holes(made: Lake, new_lake: NewLake, tmp_path: Path) -> None:
    export_release(made, "small@1.0.0", "parquet", tmp_path / "whole")
    request = Request(keys=[("folder-coco", "00003.jpg")])  # and with it same.jpg
    take_down(made, find(made, request).hashes, "asked")
    assert export_release(made, "small@1.0.0", "parquet", tmp_path / "out").redacted == 2
    with new_lake(tmp_path / "other") as other:
        assert back(other, tmp_path / "out").images == 15
        assert released(other, tmp_path / "out")[0].state == "redacted"
        assert state(other) == state(made)
        assert verify_release(other, "small@1.0.0").said == "valid except 2 redacted"
    # what was taken down here stays out, though an older export has it
    counts = back(made, tmp_path / "whole")
    assert (counts.taken_down, counts.present) == (2, 15)
    with pytest.raises(CaptionlakeError, match="lacks the pictures of 2 of 17"):
        released(made, tmp_path / "whole", label="small@2.0.0")


def test_beside_other_pictures(made: Lake, new_lake: NewLake, tmp_path: Path) -> None:
    """They are left out of the release; what the lake says of a source stays; another picture under a key is none of the export's."""
    export_release(made, "small@1.0.0", "parquet", tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/own.jpg").write_bytes(jpeg(100))
    with new_lake(tmp_path / "other") as other:
        ingest(other, IngestConfig(source="folder", inputs=[str(tmp_path / "mine")], redistribute="none"))
        back(other, tmp_path / "out")
        released(other, tmp_path / "out")
        assert other.rows("SELECT source, source_key, reason FROM exclusions") == [
            ("folder", "own.jpg", "not_in_export")
        ]
        assert other.value("SELECT redistribute FROM sources WHERE source = 'folder'") == "none"
        assert verify_release(other, "small@1.0.0").n_problems == 0
    (tmp_path / "mine/ä 0.jpg").write_bytes(jpeg(101))
    with new_lake(tmp_path / "third") as third:
        ingest(third, IngestConfig(source="folder", inputs=[str(tmp_path / "mine")]))
        counts = back(third, tmp_path / "out")
        assert (counts.images, counts.failures) == (16, 1)
        assert "another picture under the name of ä 0.jpg" in third.value("SELECT detail FROM fetch_failures")
        assert third.value("SELECT count(*) FROM captions WHERE source_key = 'ä 0.jpg'") == 0


def test_what_is_no_whole_export_is_refused(made: Lake, new_lake: NewLake, tmp_path: Path) -> None:
    export_release(made, "small@1.0.0", "parquet", tmp_path / "out")
    release(made, "2.0.0", "'all'")
    export_release(made, "small@2.0.0", "parquet", tmp_path / "two")
    pq.write_table(pa.table({"image": [{"bytes": jpeg(0), "path": "a.jpg"}]}), tmp_path / "plain.parquet")
    train, test = (tmp_path / f"out/data/{split}-00000-of-00001.parquet" for split in ("train", "test"))
    with new_lake(tmp_path / "other") as other:
        with pytest.raises(CaptionlakeError, match="one release at a time"):
            back(other, tmp_path / "out", tmp_path / "two")
        with pytest.raises(CaptionlakeError, match=r"plain.parquet is no export of captionlake"):
            back(other, train, tmp_path / "plain.parquet")
        with pytest.raises(CaptionlakeError, match="leave out collection, license"):
            back(other, train, collection="mine", license="MIT")
        with pytest.raises(CaptionlakeError, match="rows of the release, or some of them twice"):
            released(other, train)
        table = pq.read_table(test)
        texts = [row["captions"] for row in table.to_pylist()]
        next(some for some in texts if some)[0]["text"] += "."
        index = table.schema.get_field_index("captions")
        changed = table.set_column(
            index, table.schema.field("captions"), pa.array(texts, table.schema.field("captions").type)
        )
        pq.write_table(changed, test)
        back(other, train, test)
        with pytest.raises(CaptionlakeError, match="is not what its hash says"):
            released(other, train, test)
        assert other.rows("SELECT * FROM releases") == []


def test_the_command(made: Lake, new_lake: NewLake, tmp_path: Path) -> None:
    export_release(made, "small@1.0.0", "parquet", tmp_path / "out")
    new_lake(tmp_path / "other").close()
    command = ["ingest", "hf", str(tmp_path / "out"), "--lake", str(tmp_path / "other")]

    def run(*more: str) -> Any:
        return CliRunner().invoke(captionlake, [*command, *more])

    assert "write NAME@VERSION" in str(run("--release", "small").exception)
    assert "leave out --limit" in str(run("--release", "small@1.0.0", "--limit", "3").exception)
    result = run("--release", "copy@0.1.0", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    content = find_release(made, "small@1.0.0").content_sha256
    assert (told["images"], told["release"]["content_sha256"], told["release"]["new"]) == (17, content, True)
    assert f"copy@0.1.0: 17 rows, {content}, there already" in run("--release", "copy@0.1.0").stdout
    rebuilt = CliRunner().invoke(captionlake, ["release", "rebuild", "copy@0.1.0", "--lake", str(tmp_path / "other")])
    assert rebuilt.exit_code == 1 and "was taken over from an export" in str(rebuilt.exception)


# Any text that a lake can hold: no NUL, no lone surrogate
HOSTILE = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    ["", " ", "\n", '"', "'; DROP TABLE images", "🦓\u200d", "\ufeff", "NULL", "a\r\nb", "\\n", "{}", "[]", "<b>"]
)


@settings(
    max_examples=4,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.tuples(HOSTILE, HOSTILE, st.sampled_from(["train", "test", "a b"])), min_size=1, max_size=6))
def test_any_texts_come_back(
    new_lake: NewLake, tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]]
) -> None:
    root = tmp_path_factory.mktemp("texts")
    (root / "pictures").mkdir()
    for number in range(len(rows)):
        (root / "pictures" / f"{number}.jpg").write_bytes(jpeg(number))
    with new_lake(root / "one") as one, new_lake(root / "two") as two:
        ingest(one, IngestConfig(source="folder", inputs=[str(root / "pictures")], redistribute="bytes"))
        teacher(one, [text for text, _, _ in rows])
        for number, (_, author, _) in enumerate(rows):
            change(one, "UPDATE images SET author = $1, subset = $1 WHERE source_key = $2", author, f"{number}.jpg")
        places = " ".join(f"WHEN '{number}.jpg' THEN '{split}'" for number, (_, _, split) in enumerate(rows))
        release(one, splits=f"CASE source_key {places} END")
        export_release(one, "small@1.0.0", "parquet", root / "out")
        back(two, root / "out")
        released(two, root / "out")
        assert state(two) == state(one)
    shutil.rmtree(root)


def test_a_caption_with_a_nul_is_refused_with_its_row(made: Lake, new_lake: NewLake, tmp_path: Path) -> None:
    export_release(made, "small@1.0.0", "parquet", tmp_path / "out")
    for path in (tmp_path / "out/data").iterdir():
        table = pq.read_table(path)
        rows = table.to_pylist()
        rows[1]["captions"] = [one | {"text": "a\0b"} for one in rows[1]["captions"] or [{**CAPTION}]]
        pq.write_table(pa.Table.from_pylist(rows, table.schema), path)
    with new_lake(tmp_path / "other") as other:
        counts = back(other, tmp_path / "out")
        assert (counts.images, counts.reasons) == (15, {"bad_row": 2})
        assert "row 1: a caption with a NUL in it" in other.value("SELECT detail FROM fetch_failures LIMIT 1")


CAPTION = {"text": "", "role": "human", "kind": "human", "producer": "source"}
