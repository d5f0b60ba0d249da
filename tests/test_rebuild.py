"""A release is chosen again as it was, from its recipe and its snapshot, whatever became of the lake; and what differs is named."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.ingest import ingest
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.releases.commands import release as command
from captionlake.lake.releases.config import ReleaseConfig
from captionlake.lake.sft.sft_release import SftDraft, create_sft_release
from captionlake.pipeline import run
from captionlake.rebuild import Rebuilt, rebuild
from captionlake.recipe import load_recipe
from captionlake.recipe_commands import commands  # adds  release rebuild

from .curation.conftest import _save_random_clip
from .models.teacher_server import TeacherServer
from .test_caption import GOOD, REFUSAL, recipe_of

assert commands
LABEL = "made@1.0.0"


@pytest.fixture
def folder(tmp_path: Path, tiles: Callable[[int], list[bytes]]) -> Path:
    """Thirty small pictures with their texts, and ten more elsewhere."""
    for name, numbers in (("pictures", range(30)), ("more", range(30, 40))):
        lines = ["file_name,caption"]
        (tmp_path / name).mkdir()
        for number in numbers:
            (tmp_path / name / f"{number:02d}.jpg").write_bytes(tiles(40)[number])
            text = REFUSAL if number % 5 == 0 else f"{GOOD} {number}"
            lines.append(f'{number:02d}.jpg,"{text}"')
        (tmp_path / name / "metadata.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def again(folder: Path, label: str = LABEL) -> Rebuilt:
    """Rebuilt; the lake has nothing new by it."""
    with Lake.open(folder / "lake") as lake:
        before = lake.snapshot()
        found = rebuild(lake, label, folder)
        assert lake.snapshot() == before
    return found


def grow(folder: Path) -> None:
    with Lake.open(folder / "lake") as lake:
        ingest(lake, IngestConfig(source="folder", inputs=[str(folder / "more")], collection="coco"))


def change(folder: Path, query: str, *given: Any) -> None:
    with Lake.open(folder / "lake") as lake:
        lake.commit(lambda connection: connection.execute(query, [*given]))


def written(folder: Path, more: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(
        f'lake = "lake"\n[[ingest]]\nsource = "folder"\ninputs = ["pictures"]\ncollection = "coco"\n{more}\n'
        '[release]\nname = "made"\nversion = "1.0.0"\nsplits = { train = 0.7, test = 0.3 }\n'
    )
    return path


def test_near_duplicates_and_quotas_are_chosen_again(folder: Path) -> None:
    _save_random_clip(folder / "clip", 0, 32)
    path = written(
        folder,
        '[embed]\nmodel = "clip"\npretrained = "clip"\n[select]\nwhere = "width >= 10"\nseed = 3\nduplicate_threshold = 0.99\n'
        '[[select.quota]]\ncollection = "coco"\ncount = 5\n[caption]\ncaptioner = "source"',
    )
    run(load_recipe(path))
    grow(folder)
    found = again(folder)
    assert found.same and found.items == 5 and found.excluded == 25
    change(folder, "DELETE FROM similar_pairs")  # which the snapshot still has
    change(folder, "DELETE FROM captions")
    change(folder, "DELETE FROM embeddings")
    assert again(folder) == found


def test_captions_by_a_model_are_chosen_again(folder: Path) -> None:
    def fault(_: int, picture: str) -> Any:
        kind = int(picture, 16) % 6
        return "content_filter" if kind == 0 else ("text", REFUSAL if kind == 1 else GOOD)

    with TeacherServer(fault=fault) as server:
        run(load_recipe(recipe_of(folder, server.url, 15)))
    grow(folder)
    change(folder, "INSERT INTO caption_flags SELECT caption_id, 'refusal', 'later' FROM captions")
    found = again(folder)  # without the server
    assert found.same and found.items == 15
    told = json.loads(_said(folder, "--json"))
    assert told["same"] and told["content_sha256"] == found.stored_sha256


def test_texts_of_sources_less_those_flagged_then(folder: Path) -> None:
    run(load_recipe(written(folder, '[caption]\ncaptioner = "source"\nrefuse = ["refusal"]')))
    change(folder, "DELETE FROM caption_flags")
    found = again(folder)
    assert found.same and (found.items, found.excluded) == (24, 6)
    assert re.fullmatch(rf"rebuilt: same content {found.content_sha256}: 24 rows, 6 left out\n", _said(folder))


def _said(folder: Path, *more: str) -> str:
    done = CliRunner().invoke(command, ["rebuild", LABEL, "--lake", str(folder / "lake"), *more])
    assert done.exit_code == 0, done.exception
    return done.output


def test_what_differs_is_named(folder: Path) -> None:
    run(load_recipe(written(folder, '[select]\n[[select.quota]]\ncollection = "coco"\ncount = 20')))
    assert again(folder).same
    change(folder, "UPDATE release_items SET row_sha256 = 'other' WHERE position = 3")
    with Lake.open(folder / "lake") as lake:
        key = lake.value("SELECT source_key FROM release_items WHERE position = 3")
        gone = lake.value("SELECT min(source_key) FROM exclusions")
    change(folder, "UPDATE exclusions SET reason = 'predicate' WHERE source_key = ?", gone)
    found = again(folder)
    assert not found.same and found.n_differ == 2
    assert found.differ[0] == f"folder-coco:{key}: other captions or another split"
    assert found.differ[1].startswith(f"folder-coco:{gone}: left out for predicate")
    change(folder, "UPDATE releases SET recipe = replace(recipe, 'count = 20', 'count = 19')")
    found = again(folder)
    assert found.items == 19 and found.content_sha256 != found.stored_sha256
    assert any("a row of the release, not chosen now" in one for one in found.differ)
    done = CliRunner().invoke(command, ["rebuild", LABEL, "--lake", str(folder / "lake")])
    assert done.exit_code == 1 and f"{LABEL} came out otherwise" in str(done.exception)


def test_what_cannot_be_had_again_says_why(folder: Path) -> None:
    run(load_recipe(written(folder, "")))
    with pytest.raises(CaptionlakeError, match="no release made@2"):
        again(folder, "made@2.0.0")
    with Lake.open(folder / "lake") as lake:
        nothing = pa.table({"position": pa.array([], pa.int64()), "conversation_id": pa.array([], pa.string())})
        config = ReleaseConfig(name="mix", version="1.0.0")
        create_sft_release(lake, SftDraft(config=config, recipe="", snapshot=lake.snapshot(), items=nothing))
        pinned = lake.value("SELECT snapshot_id FROM releases WHERE name = 'made'")
    with pytest.raises(CaptionlakeError, match="of kind sft: make it again with  captionlake mix"):
        again(folder, "mix@1.0.0")
    change(folder, "UPDATE releases SET recipe = recipe || '[unheard]' WHERE name = 'made'")
    with pytest.raises(CaptionlakeError, match=r"none of this version \(line \d+: unknown table \[unheard\]"):
        again(folder)
    change(folder, "UPDATE releases SET recipe = replace(recipe, '[unheard]', '') WHERE name = 'made'")
    assert again(folder).same
    grow(folder)
    change(
        folder,
        "UPDATE releases SET snapshot_id = (SELECT id FROM ducklake_current_snapshot('lake')) WHERE name = 'made'",
    )
    with pytest.raises(
        CaptionlakeError, match=r"pinned anew after a takedown, to snapshot .* with 40 images, and chose among 30"
    ):
        again(folder)
    change(folder, "UPDATE releases SET snapshot_id = 100000 WHERE name = 'made'")
    with pytest.raises(CaptionlakeError, match="pins snapshot 100000, which the lake no longer has"):
        again(folder)
    change(folder, "UPDATE releases SET snapshot_id = ?, state = 'redacted' WHERE name = 'made'", pinned)
    change(
        folder,
        "UPDATE release_items SET source = NULL, source_key = NULL, image_id = NULL WHERE position < 2 AND name = 'made'",
    )
    with pytest.raises(
        CaptionlakeError, match=r"made@1\.0\.0 cannot be had again: the pictures of 2 of its rows were taken down"
    ):
        again(folder)
