"""The small run's scenes: what is drawn is what the caption says, and what a caption says is counted right."""

import json
import math
import random
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "recipes" / "scenes"), str(ROOT / "recipes" / "demo")]  # their scripts are no packages

from drawing import CENTRES, SIDE, draw  # noqa: E402
from learn import right  # noqa: E402
from questions import conversation, questions  # noqa: E402
from scene_files import held_out_scenes, lay_out, learned_scenes  # noqa: E402
from scenes import ATTRIBUTES, VALUES, Group, Scene, claimed, random_scene, scenes  # noqa: E402
from score import score  # noqa: E402

SEEDS = st.integers(0, 2**32)


@given(SEEDS)
def test_a_caption_says_what_is_there_and_nothing_else(seed: int) -> None:
    rng = random.Random(seed)
    scene = random_scene(rng)
    assert claimed(scene.caption(rng)) == scene.groups
    assert scene.background in scene.caption(rng)


@given(SEEDS)
@settings(max_examples=50)
def test_a_group_is_drawn_where_its_caption_says(seed: int) -> None:
    """The middle of the pixels that are not the background's is nearer to the group's place than to any other."""
    rng = random.Random(seed)
    scene = random_scene(rng)
    group = rng.choice(scene.groups)
    pixels = np.asarray(draw(Scene(scene.background, (group,)), rng), np.int16)  # (SIDE, SIDE, 3)
    values, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    drawn = np.abs(pixels - values[counts.argmax()]).max(axis=2) > 40
    y, x = (float(places.mean()) / SIDE for places in np.nonzero(drawn))
    assert min(CENTRES, key=lambda place: math.dist(CENTRES[place], (x, y))) == group.place


@given(SEEDS)
def test_answers_are_true(seed: int) -> None:
    rng = random.Random(seed)
    scene = random_scene(rng)
    asked = {kind: (question, answer) for kind, question, answer in questions(scene, rng)}
    groups = [group for group in scene.groups if asked["number"][0].endswith(f"{group.place}?")]
    (group,) = groups
    assert asked["number"][1] == f"{group.number.capitalize()}."
    assert asked["colour"][1] == f"{group.colour.capitalize()}." and asked["shape"][1] == f"A {group.shape}."
    question, answer = asked["presence"]
    assert (answer == "Yes.") == any(f"{one.colour} {one.shape}" in question for one in scene.groups)


def test_scores_by_hand() -> None:
    truth = "The picture shows one red circle in the upper left and two blue stars in the lower right, on a grey background."
    wrong = "There is one red square in the upper left, on a grey background."
    found = score([(truth, truth), (truth, wrong)])
    assert found.total == 4 and found.extra == 0
    # the second caption: number, colour and place of the first group are right; the second group is not there
    assert found.right == {"number": 3, "colour": 3, "shape": 2, "place": 3}
    assert found.accuracy == 11 / 16
    assert found.chance == {"number": 0.5, "colour": 0.5, "shape": 0.5, "place": 0.5}
    assert score([(wrong, truth)]).extra == 1
    with pytest.raises(ValueError, match="no true caption"):
        score([("nothing", truth)])


def test_answers_by_hand() -> None:
    assert right({"answer": "A star."}, " a star") and not right({"answer": "A star."}, "A circle.")


def test_the_folders_are_the_same_each_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        lay_out(tmp_path / name, [], learned=8)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert len(files) == 8 + 500 + 3 + 2  # scenes, held-out scenes, a table of each folder, conversations and questions
    assert all((tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes() for file in files)
    rows = json.loads((tmp_path / "one" / "conversations.json").read_text())
    assert sum("image" in row for row in rows) == 8 and rows[0]["conversations"][0]["value"].startswith("<image>\n")


def test_no_held_out_scene_is_learned_from() -> None:
    held_out = {scene for scene, _ in held_out_scenes()}
    assert len(held_out) > 450 and not held_out & {scene for scene, _ in learned_scenes(3000)}
    assert held_out & {scene for scene, _ in scenes(3000, 0)}, "else nothing would have to be left out"


def test_all_values_come_up() -> None:
    groups = [group for scene, _ in scenes(2000, 0) for group in scene.groups]
    for name in ATTRIBUTES:
        assert {getattr(group, name) for group in groups} == set(VALUES[name])
    rng = random.Random(0)
    alone = Scene("grey", (Group("one", "red", "cross", "centre"),))
    assert conversation("000001.png", alone, rng)["image"] == "scenes/000001.png"
