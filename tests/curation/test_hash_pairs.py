"""Pairs by perceptual hash: of real photographs and their copies, stored, and left out by a recipe."""

import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from captionlake.curation.dedupe_command import _MOST_BITS, dedupe
from captionlake.curation.explain import explain
from captionlake.curation.hash_pairs import find_hash_pairs
from captionlake.curation.select_config import MOST_BITS, SelectConfig
from captionlake.curation.selection import select
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.ingest import ingest
from captionlake.lake.ingest_config import IngestConfig


def smaller(data: bytes, quality: int) -> bytes:
    """The picture at three quarters of its size, as a JPEG."""
    out = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        size = (image.width * 3 // 4, image.height * 3 // 4)
        image.convert("RGB").resize(size).save(out, "JPEG", quality=quality)
    return out.getvalue()


@pytest.fixture
def copied(lake: Lake, photographs: dict[str, bytes], tmp_path: Path) -> tuple[Lake, dict[str, str]]:
    """Five photographs, each also smaller, one smaller still; and two blank pictures, whose hashes say nothing. Ids by name."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, data in photographs.items():
        (folder / f"{name}.jpg").write_bytes(data)
    (folder / "astronaut-tiny.jpg").write_bytes(smaller(photographs["astronaut-small"], 60))
    for name, tone in (("white", 255), ("black", 0)):
        Image.new("RGB", (64, 64), (tone,) * 3).save(folder / f"{name}.png")
    ingest(lake, IngestConfig(source="folder", inputs=[str(folder)]))
    return lake, {Path(key).stem: name for key, name in lake.rows("SELECT source_key, image_id FROM images")}


def test_copies_are_pairs_and_blank_pictures_are_not(copied: tuple[Lake, dict[str, str]]) -> None:
    lake, ids = copied
    counts = find_hash_pairs(lake, 4)
    assert counts.images == 11
    by_id = {image_id: name for name, image_id in ids.items()}
    linked = {frozenset(pair) for pair in lake.rows("SELECT image_id, other_id FROM similar_pairs")}
    assert counts.pairs == counts.new == len(linked)
    assert all(len({by_id[one].split("-")[0] for one in pair}) == 1 for pair in linked)
    assert {by_id[one] for pair in linked for one in pair} == {by_id[one] for one in by_id if "-" in by_id[one]}
    assert explain(lake, ids["chelsea-small"]).pairs[0].method in ("phash", "same_phash")
    again = find_hash_pairs(lake, 2)
    assert again.skipped and again.new == 0


def test_a_recipe_leaves_copies_out_without_a_model(copied: tuple[Lake, dict[str, str]]) -> None:
    lake, ids = copied
    config = SelectConfig(duplicate_phash=4)
    with pytest.raises(CaptionlakeError, match="captionlake dedupe --phash-distance 4  first"):
        select(lake, config, model_id=None)
    find_hash_pairs(lake, 3)
    with pytest.raises(CaptionlakeError, match="are not all known"):
        select(lake, config, model_id=None)
    find_hash_pairs(lake, 6)
    selection = select(lake, config, model_id=None)
    by_id = {image_id: name for name, image_id in ids.items()}
    taken = {by_id[image_id] for image_id in selection.items["image_id"]}
    assert taken == {name for name in ids if name.endswith("-full")} | {"white", "black"}
    for row in selection.exclusions.iter_rows(named=True):
        bits = round(64 * (1 - row["similarity"]))
        assert row["reason"] == "duplicate" and row["detail"] == f"perceptual hash, {bits} of 64 bits apart"
        assert Path(row["keeper_key"]).stem == Path(row["source_key"]).stem.split("-")[0] + "-full"


def test_the_command_says_what_it_found(copied: tuple[Lake, dict[str, str]]) -> None:
    lake, _ = copied
    runner = CliRunner()
    said = runner.invoke(dedupe, ["--phash-distance", "4", "--lake", str(lake.path)])
    assert said.exit_code == 0, said.output
    assert "pairs of perceptual hashes within 4 bits among 11 pictures" in said.output
    again = runner.invoke(dedupe, ["--phash-distance", "4", "--lake", str(lake.path), "--json"])
    assert json.loads(again.output)["skipped"] is True
    wrong = runner.invoke(dedupe, ["--phash-distance", "4", "--explain", "x", "--lake", str(lake.path)])
    assert wrong.exit_code == 2 and "goes with none of" in wrong.output
    assert _MOST_BITS == MOST_BITS
    assert runner.invoke(dedupe, ["--phash-distance", "13", "--lake", str(lake.path)]).exit_code == 2


def test_a_recipe_runs_with_hashes_alone(tmp_path: Path, photographs: dict[str, bytes]) -> None:
    from captionlake.pipeline import run
    from captionlake.recipe import load_recipe

    folder = tmp_path / "pictures"
    folder.mkdir()
    name, data = next(iter(photographs.items()))
    (folder / f"{Path(name).stem}.png").write_bytes(data)
    (folder / "copy.jpg").write_bytes(smaller(data, 90))
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        'lake = "lake"\n[[ingest]]\nsource = "folder"\ninputs = ["pictures"]\n[select]\nduplicate_phash = 4\n'
        '[release]\nname = "r"\nversion = "1.0.0"\n'
    )
    report = run(load_recipe(recipe))
    said = {str(step.step): step.said for step in report.steps}
    assert said["dedupe"] == "1 pairs of perceptual hashes within 4 bits"
    assert said["select"] == "1 chosen, 1 left out (1 duplicate)"
