"""An export of conversations comes back: into an empty lake, through ``datasets``, with holes and without what was held back."""

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.archives import ArchiveReader
from captionlake.lake.archives.member import MemberError
from captionlake.lake.exports.forms import export_release
from captionlake.lake.ingest import ingest
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.ingest_counts import IngestCounts
from captionlake.lake.ingest_exported import release_of_ingest
from captionlake.lake.ingest_preview import preview
from captionlake.lake.releases.config import ReleaseConfig
from captionlake.lake.releases.release import Release, find_release
from captionlake.lake.releases.verification import verify_release
from captionlake.lake.sft.importing import import_conversations
from captionlake.lake.sft.sft_release import SftDraft, create_sft_release
from captionlake.lake.takedown.finding import Request, find
from captionlake.lake.takedown.removal import take_down

from ...killed import Commands, nothing_staged, same_rows, sound
from ..image_server import ImageServer, jpeg

NewLake = Callable[[Path], Lake]
RECIPE = '[mix]\nbase = "mix.json"\n# "quoted" – ü\n'
CONVERSATIONS = "SELECT * FROM conversations ORDER BY ALL"
IMAGES = (
    "SELECT source, source_key, collection, subset, image_id, url, license, author, width, height, format, n_bytes, phash "
    "FROM images ORDER BY ALL"
)
TABLES = {
    "sources": "SELECT * FROM sources ORDER BY ALL",
    "images": IMAGES,
    "conversations": CONVERSATIONS,
    "items": "SELECT * FROM release_items ORDER BY ALL",
    "releases": "SELECT name, version, kind, recipe, recipe_sha256, content_sha256, n_items, state FROM releases ORDER BY ALL",
}
KILLS = 3
HOSTILE = 'a "b" \\n \x07 \u2028 </script> 🦓 \'; DROP TABLE images; --'


def state(lake: Lake, *left_out: str) -> dict[str, list[tuple[Any, ...]]]:
    """What must be the same in both lakes."""
    return {name: lake.rows(query) for name, query in TABLES.items() if name not in left_out}


def change(lake: Lake, query: str, *values: str) -> None:
    lake.commit(lambda connection: connection.execute(query, values))


def talk(*texts: str) -> list[dict[str, Any]]:
    return [{"from": ("human", "gpt")[n % 2], "value": text} for n, text in enumerate(texts)]


def release(lake: Lake, version: str = "1.0.0") -> Release:
    """All conversations, the last ones first, in two splits."""
    order = "SELECT row_number() OVER (ORDER BY origin DESC) - 1 AS position, conversation_id FROM conversations"
    config = ReleaseConfig(name="talk", version=version, splits={"train": 0.6, "test": 0.4})
    draft = SftDraft(config=config, recipe=RECIPE, snapshot=lake.snapshot(), items=lake.arrow(order))
    return create_sft_release(lake, draft)[0]


@pytest.fixture(scope="module")
def made_folder(
    new_lake: NewLake, tiles: Callable[[int], list[bytes]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Six pictures of COCO, three of the web, one of them the same bytes; conversations about one of them, about several, about one
    that the lake lacks, about none, and one made of a caption; talk@1.0.0 of all, and its export."""
    root = tmp_path_factory.mktemp("made")
    for name, some in (("coco", tiles(6)), ("web", [jpeg(1), jpeg(2), tiles(6)[3]])):
        (root / name).mkdir()
        for number, data in enumerate(some):
            (root / name / f"{number}.jpg").write_bytes(data)
    extra = {"from": "gpt", "value": HOSTILE, "weight": 0.5, "conversations": None}
    rows: list[dict[str, Any]] = [
        {"id": 7, "image": "coco/images/0.jpg", "conversations": talk("<image>\nWhat?", "A tile.", "Sure?", "Yes.")},
        {
            "id": "8",
            "conversations": [*talk(HOSTILE), extra],
            "image": "coco/images/0.jpg",
            "x": {"conversations": None},
        },
        {
            "image": ["coco/images/3.jpg", "web/images/1.jpg", "gqa/images/9.jpg"],
            "conversations": talk("Which?", "All."),
        },
        {"image": ["web/images/0.jpg", "web/images/0.jpg"], "conversations": talk("Same?", "Yes.")},
        {"id": "a", "image": "gqa/images/9.jpg", "conversations": talk("What?", "Nobody knows.")},
        {"id": "t", "conversations": talk("Write a haiku.", "Frogs.")},
        {"id": "u", "image": [], "conversations": talk("Write another.", "More frogs.")},
    ]
    (root / "mix.json").write_text(json.dumps(rows))
    told: dict[str, Any] = {
        "license": "CC-BY-4.0",
        "license_url": "https://example.org/by",
        "title": "Ünïque",
        "redistribute": "bytes",
    }
    with new_lake(root / "lake") as lake:
        for name, subset in (("coco", None), ("web", "landmark")):
            ingest(
                lake, IngestConfig(source="folder", inputs=[str(root / name)], collection=name, subset=subset, **told)
            )
        import_conversations(lake, root / "mix.json")
        one = lake.arrow(
            "SELECT * REPLACE ('cap-1' AS caption_id, 'sharegpt4v@1.0.0:1' AS origin) FROM conversations WHERE origin = 'mix.json:1'"
        )
        lake.append("conversations", one.set_column(0, "conversation_id", pa.array(["c" * 32])), ["conversation_id"])
        release(lake)
        assert export_release(lake, "talk@1.0.0", "parquet", root / "out").rows == 8
    return root


@pytest.fixture
def made(made_folder: Path, tmp_path: Path) -> Iterator[Lake]:
    """The lake, to be changed."""
    with Lake.open(shutil.copytree(made_folder / "lake", tmp_path / "made")) as lake:
        lake.connection.execute("SET threads = 1")
        yield lake


def back(lake: Lake, *inputs: Path, **options: Any) -> IngestCounts:
    return ingest(lake, IngestConfig(source="hf", inputs=[str(one) for one in inputs], **options))


def released(lake: Lake, *inputs: Path, label: str = "talk@1.0.0") -> tuple[Release, bool]:
    return release_of_ingest(lake, IngestConfig(source="hf", inputs=[str(one) for one in inputs]), label)


def test_into_an_empty_lake_and_out_again(made_folder: Path, new_lake: NewLake, tmp_path: Path) -> None:
    out = made_folder / "out"
    with Lake.open(made_folder / "lake") as made, new_lake(tmp_path / "other") as other:
        config = IngestConfig(source="hf", inputs=[str(out)])
        assert (preview(other, config).read, preview(other, config).bad) == (5, 0)
        counts = back(other, out)
        # of 0.jpg in three rows, of both sources of 3.jpg, and of the web's two, one of them twice in its row
        assert (counts.listed, counts.images, counts.repeated, counts.conversations) == (7, 5, 2, 8)
        one, new = released(other, out)
        assert new and one.content_sha256 == find_release(made, "talk@1.0.0").content_sha256
        expected = state(made)
        ids = {id for (ids,) in made.rows("SELECT image_ids FROM conversations") for id in ids}
        expected["images"] = [row for row in expected["images"] if row[4] in ids]  # a release carries its own pictures
        assert state(other) == expected and len(expected["images"]) == 5
        some = "SELECT image_id, bytes FROM image_bytes WHERE list_contains(?, image_id) ORDER BY 1"
        assert other.rows(some, [list(ids - {None})]) == made.rows(some, [list(ids - {None})])
        found = verify_release(other, "talk@1.0.0")
        assert (found.n_problems, found.n_items, found.said) == (0, 8, "valid")
        export_release(other, "talk@1.0.0", "parquet", tmp_path / "again")
        for path in sorted((out / "data").iterdir()):
            assert pq.read_table(path).equals(pq.read_table(tmp_path / "again/data" / path.name), check_metadata=True)
        # once more changes nothing
        before = state(other)
        counts = back(other, out)
        assert (counts.listed, counts.present, counts.repeated, counts.images, counts.conversations) == (7, 5, 2, 0, 0)
        assert not released(other, out)[1] and state(other) == before


def test_into_the_lake_that_it_comes_from(made: Lake, made_folder: Path) -> None:
    before = state(made)
    counts = back(made, made_folder / "out")
    assert (counts.images, counts.conversations) == (0, 0) and not released(made, made_folder / "out")[1]
    assert state(made) == before


def test_through_datasets(made_folder: Path, new_lake: NewLake, tmp_path: Path) -> None:
    """Which drops what the files said of release and sources, and writes all splits into files of other names."""
    from datasets import load_dataset

    loaded = load_dataset(str(made_folder / "out"), cache_dir=str(tmp_path / "cache"))
    (tmp_path / "written").mkdir()
    for split, rows in loaded.items():
        rows.shuffle(seed=1).to_parquet(str(tmp_path / "written" / f"part-{split}.parquet"))
    with Lake.open(made_folder / "lake") as made, new_lake(tmp_path / "other") as other:
        counts = back(other, tmp_path / "written")
        assert (counts.images, counts.failures, counts.conversations) == (5, 0, 8)
        one = released(other, tmp_path / "written")[0]
        assert one.content_sha256 == find_release(made, "talk@1.0.0").content_sha256
        left_out = ("sources", "images", "releases")
        assert state(other, *left_out) == state(made, *left_out)
        assert verify_release(other, "talk@1.0.0").n_problems == 0


def test_pictures_held_back_are_fetched_or_told(made: Lake, new_lake: NewLake, tmp_path: Path) -> None:
    """Of the web, 0.jpg comes from its URL, 1.jpg is gone there; 2.jpg has no URL, but is let out by COCO."""
    with ImageServer() as server:
        change(made, "UPDATE sources SET redistribute = 'urls' WHERE collection = 'web'")
        for key, url in (("0.jpg", server.add("/0.jpg", jpeg(1))), ("1.jpg", server.url("/status/404"))):
            change(made, "UPDATE images SET url = ? WHERE source = 'folder-web' AND source_key = ?", url, key)
        release(made, "1.1.0")
        assert export_release(made, "talk@1.1.0", "parquet", tmp_path / "out").withheld == 2
        with new_lake(tmp_path / "other") as other:
            plan = preview(other, IngestConfig(source="hf", inputs=[str(tmp_path / "out")]))
            assert (plan.listed, plan.read, plan.fetch, plan.bad) == (7, 3, 2, 0)
            counts = back(other, tmp_path / "out", allow_private_hosts=True)
            assert (counts.images, counts.fetched, counts.failures, counts.conversations) == (4, 1, 1, 8)
            assert counts.reasons == {"not_found": 1}
            with pytest.raises(
                CaptionlakeError, match=r"lacks the pictures of 1 of 8 rows, the first is .*--retry-failed"
            ):
                released(other, tmp_path / "out", label="talk@1.1.0")
            assert other.rows("SELECT * FROM releases") == []
            # from an export for one's own use it comes after all, and its conversation has it
            export_release(made, "talk@1.1.0", "parquet", tmp_path / "own", own_use=True)
            assert back(other, tmp_path / "own", retry_failed=True).images == 1
            released(other, tmp_path / "out", label="talk@1.1.0")
            assert other.rows(CONVERSATIONS) == made.rows(CONVERSATIONS)
            assert other.rows("SELECT * FROM release_items ORDER BY ALL") == made.rows(
                "SELECT * FROM release_items WHERE version = '1.1.0' ORDER BY ALL"
            )
            assert verify_release(other, "talk@1.1.0").n_problems == 0


def test_holes_stay_holes(made: Lake, made_folder: Path, new_lake: NewLake, tmp_path: Path) -> None:
    image_id = made.value("SELECT image_id FROM images WHERE source = 'folder-coco' AND source_key = '3.jpg'")
    take_down(made, find(made, Request(image_ids=[image_id])).hashes, "asked")
    assert export_release(made, "talk@1.0.0", "parquet", tmp_path / "out").redacted == 1
    with new_lake(tmp_path / "other") as other:
        assert back(other, tmp_path / "out").conversations == 7
        assert released(other, tmp_path / "out")[0].state == "redacted"
        assert state(other, "images") == state(made, "images")
        assert verify_release(other, "talk@1.0.0").said == "valid except 1 redacted"
    # what was taken down here stays out, though an older export has it
    counts = back(made, made_folder / "out")
    assert (counts.images, counts.conversations) == (0, 0)
    with pytest.raises(CaptionlakeError, match="lacks the pictures of 1 of 8"):
        released(made, made_folder / "out", label="talk@2.0.0")


def test_beside_other_rows(made_folder: Path, new_lake: NewLake, tmp_path: Path) -> None:
    """Conversations that were there without pictures get them; another one in the place of one of the export is not replaced."""
    with new_lake(tmp_path / "other") as other:
        import_conversations(other, made_folder / "mix.json")
        assert back(other, made_folder / "out").conversations == 1
        released(other, made_folder / "out")
        with Lake.open(made_folder / "lake") as made:
            assert other.rows(CONVERSATIONS) == made.rows(CONVERSATIONS)
        assert verify_release(other, "talk@1.0.0").n_problems == 0
    (tmp_path / "mix.json").write_text(json.dumps([{"id": "9", "conversations": talk("Who?", "I.")}]))
    with new_lake(tmp_path / "third") as third:
        import_conversations(third, tmp_path / "mix.json")
        with pytest.raises(CaptionlakeError, match=r"another conversation as mix.json:1 than the export has"):
            back(third, made_folder / "out")
        assert third.value("SELECT count(*) FROM conversations") == 1


def rewrite(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """The same files with each row changed."""
    for path in (folder / "data").iterdir():
        table = pq.read_table(path)
        rows = table.to_pylist()
        for row in rows:
            edit(row)
        pq.write_table(pa.Table.from_pylist(rows, table.schema), path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda row: row.update(record=row["record"].replace("frogs", "toads")), r"row \d \(\w+\) is not what its hash says"),
        (lambda row: row.update(split="other"), "is not what its hash says"),
        (lambda row: row.update(image_id=None), "is not what its hash says"),
        (lambda row: row.update(record="{"), r"parquet row 0 is no conversation as every row of an export is one"),
        (lambda row: row.update(record=None), "is no conversation"),
        (lambda row: row.update(conversation_id="../x"), "is no conversation"),
        (lambda row: row.update(origin="a\0b"), "is no conversation"),
        (lambda row: row.update(picture_sources=[]), "is no conversation"),
        (lambda row: row.update(pictures=[]), "is no conversation"),
        (lambda row: [one.update(source=None) for one in row["picture_sources"]], "has no usable source"),
        (lambda row: row.update(position=0), "rows of the release, or some of them twice"),
        (lambda row: row.update(position=7 - row["position"]), "hash to .*, not to"),
    ],
)  # fmt: skip
def test_a_changed_export_is_refused(
    made_folder: Path, new_lake: NewLake, tmp_path: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    shutil.copytree(made_folder / "out", tmp_path / "out")
    rewrite(tmp_path / "out", change)
    with new_lake(tmp_path / "other") as other:
        with pytest.raises(CaptionlakeError, match=said):
            back(other, tmp_path / "out")
            released(other, tmp_path / "out")
        assert other.rows("SELECT * FROM releases") == []


def test_what_is_no_whole_export_is_refused(made_folder: Path, new_lake: NewLake, tmp_path: Path) -> None:
    files = sorted((made_folder / "out/data").iterdir())
    assert len(files) == 2
    pq.write_table(pq.read_table(files[0]).drop_columns(["picture_sources"]), tmp_path / "older.parquet")
    (tmp_path / "cut.parquet").write_bytes(files[0].read_bytes()[:-100])
    wrong = jpeg(50)
    shutil.copytree(made_folder / "out", tmp_path / "swapped")
    rewrite(tmp_path / "swapped", lambda row: [one.update(bytes=wrong) for one in row["pictures"] if one])
    with new_lake(tmp_path / "other") as other:
        for path, said in (
            ("older", "does not say of which sources.*export the release again"),
            ("cut", "download it"),
        ):
            with pytest.raises(CaptionlakeError, match=said):
                back(other, tmp_path / f"{path}.parquet")
        with pytest.raises(CaptionlakeError, match="leave out collection"):
            back(other, files[0], collection="mine")
        assert other.rows("SELECT * FROM images") == [] and other.rows(CONVERSATIONS) == []
        # pictures that are not what their hash says do not come in
        counts = back(other, tmp_path / "swapped")
        assert (counts.images, counts.reasons) == (0, {"changed": 5})
        back(other, files[0], limit=1)
        with pytest.raises(CaptionlakeError, match="rows of the release, or some of them twice"):
            released(other, files[0])


def test_members_of_lists(made_folder: Path, tmp_path: Path) -> None:
    """Each picture of each row, in any order, and none where there is none."""
    rng = random.Random(3)
    rows = [
        [rng.randbytes(rng.randint(1, 40)) if rng.random() < 0.8 else None for _ in range(rng.randint(0, 3))]
        for _ in range(50)
    ]
    column = [[{"bytes": one, "path": None} for one in row] if row or n % 2 else None for n, row in enumerate(rows)]
    table = pa.table(
        {"pictures": pa.array(column, pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())])))}
    )
    pq.write_table(table, tmp_path / "lists.parquet", row_group_size=7)
    places = [(row, number) for row, some in enumerate(rows) for number in range(len(some) + 1)]
    rng.shuffle(places)
    with ArchiveReader(max_bytes=100) as reader:
        for row, number in places:
            member = f"pictures.list.element.bytes/{row}/{number}"
            data = rows[row][number] if number < len(rows[row]) else None
            if data is None:
                with pytest.raises(MemberError):
                    reader.read(str(tmp_path / "lists.parquet"), member)
            else:
                assert reader.read(str(tmp_path / "lists.parquet"), member) == data
        for member in (
            "pictures.list.element.bytes/0",
            "pictures.list.element.bytes/x/0",
            "pictures.list.element.bytes/0/-1",
            "a/0/0",
        ):
            with pytest.raises(MemberError):
                reader.read(str(tmp_path / "lists.parquet"), member)


def test_the_command_killed_at_any_moment(made_folder: Path, tmp_path: Path) -> None:
    """At places and times that a seed chooses."""
    chance, kills = random.Random(5), 0
    constants = {
        "captionlake.lake.ingest_job.PICTURES_PER_SHARD": 2,
        "captionlake.lake.sources.parquet_rows.FRAME_ROWS": 3,
    }
    modules = ["captionlake.lake.ingest_exported", "captionlake.lake.sources.parquet_rows", "pyarrow.parquet"]
    with Commands(tmp_path, modules, constants) as commands:
        commands.run("init", tmp_path / "empty")
        shutil.copytree(tmp_path / "empty", tmp_path / "whole")
        command = ("ingest", "hf", made_folder / "out", "--release", "talk@1.0.0", "--json", "--lake")
        commands.learn(*command, tmp_path / "whole")
        told = json.loads(commands.said())
        assert (told["images"], told["conversations"], told["release"]["new"]) == (5, 8, True)
        while kills < KILLS:
            lake = tmp_path / f"lake-{kills}"
            shutil.copytree(tmp_path / "empty", lake)
            while kills < KILLS and not commands.run(*command, lake, at=commands.moment(chance)):
                kills += 1
                sound(lake)
            assert commands.run(*command, lake)
            same_rows(lake, tmp_path / "whole", *TABLES.values())
            assert nothing_staged(lake)
