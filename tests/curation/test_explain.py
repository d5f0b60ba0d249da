"""``dedupe --explain``: pairs, groups of one vector, and what releases did, on real photographs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from captionlake.curation.dedupe_command import dedupe
from captionlake.curation.explain import explain, find_picture, write_page
from captionlake.curation.select_config import SelectConfig
from captionlake.curation.selection import select
from captionlake.curation.similarity import find_pairs
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake

AddPictures = Callable[..., list[str]]


@pytest.fixture
def made(
    lake: Lake, add_pictures: AddPictures, photographs: dict[str, bytes], add_vectors: Any
) -> tuple[Lake, list[str]]:
    """Four pictures: the first two of one vector, the third near them, the fourth not. The vectors are made up."""
    ids = add_pictures(lake, dict(list(photographs.items())[:4]))
    angles = np.array([0.0, 0.0, 0.1, 1.0])
    add_vectors(lake, "made-up", ids, np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32))
    find_pairs(lake, "made-up", 0.95)
    return lake, ids


def test_pairs_are_shared_by_pictures_of_one_vector(made: tuple[Lake, list[str]]) -> None:
    lake, (first, second, third, fourth) = made
    for one, other in ((first, second), (second, first)):
        found = explain(lake, one)
        assert [(pair.image_id, pair.method) for pair in found.pairs] == [(other, "same_vector"), (third, "cosine")]
        assert found.pairs[1].similarity == pytest.approx(np.cos(0.1), abs=1e-6)
    third_s = explain(lake, third).pairs
    assert {pair.image_id for pair in third_s} == {first, second}
    assert len({pair.similarity for pair in third_s}) == 1
    assert explain(lake, fourth).pairs == []


def test_what_a_release_did_is_told_with_the_rule(made: tuple[Lake, list[str]]) -> None:
    lake, ids = made
    chosen = select(lake, SelectConfig(duplicate_threshold=0.95), model_id="made-up")
    (kept,) = [row["image_id"] for row in chosen.items.to_dicts() if row["image_id"] in ids[:3]]
    items = chosen.items.with_row_index("position").to_arrow()
    with lake.registered(_items=items, _out=chosen.exclusions.to_arrow()):
        lake.commit(
            lambda c: c.execute(
                "INSERT INTO release_items BY NAME SELECT 'r' AS name, '1.0.0' AS version, position, source, source_key, image_id, "
                "'train' AS split, '' AS row_sha256 FROM _items"
            )
        )
        lake.commit(
            lambda c: c.execute("INSERT INTO exclusions BY NAME SELECT 'r' AS name, '1.0.0' AS version, * FROM _out")
        )
    (stays,) = explain(lake, kept).verdicts
    assert (stays.release, stays.kept, stays.keeper) == ("r@1.0.0", True, None)
    for image_id in set(ids[:3]) - {kept}:
        (goes,) = explain(lake, image_id).verdicts
        assert not goes.kept
        assert goes.keeper in explain(lake, kept).rows
        assert "cosine by made-up" in goes.rule and "keep_order" in goes.rule


def test_the_command_and_its_page(made: tuple[Lake, list[str]], tmp_path: Path) -> None:
    lake, ids = made
    lake.close()
    page = tmp_path / "page.html"
    told = ["--explain", ids[2][:12], "--lake", str(lake.path)]
    shown = CliRunner().invoke(dedupe, [*told, "-o", str(page)])
    assert shown.exit_code == 0, shown.output
    assert "2 pictures like it" in shown.stdout and "no release has looked at it yet" in shown.stdout
    html = page.read_text()
    assert html.count("<article") == 2
    assert html.count("data:image/jpeg;base64,") == 4
    data = json.loads(CliRunner().invoke(dedupe, [*told, "--json"]).stdout)
    assert data["image_id"] == ids[2]
    assert len(data["pairs"]) == 2


def test_keys_are_hostile_text(
    lake: Lake, add_pictures: AddPictures, photographs: dict[str, bytes], tmp_path: Path
) -> None:
    (only,) = add_pictures(lake, {"<script>alert(1)</script>": photographs["coffee-full"]})
    write_page(lake, explain(lake, only), tmp_path / "page.html")
    assert "<script" not in (tmp_path / "page.html").read_text()


def test_a_picture_that_is_none_or_not_one(made: tuple[Lake, list[str]]) -> None:
    lake, ids = made
    assert find_picture(lake, ids[0]) == ids[0]
    key = lake.value("SELECT source || ':' || source_key FROM images WHERE image_id = ?", [ids[1]])
    assert find_picture(lake, key) == ids[1]
    for wrong, why in (
        ("zzz", "no picture is zzz"),
        ("", "several pictures"),
        ("made:nothing", "no picture is made:nothing"),
    ):
        with pytest.raises(CaptionlakeError, match=why):
            find_picture(lake, wrong)
