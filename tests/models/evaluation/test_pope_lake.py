"""POPE's questions about a lake: the three ways of sampling, by hand and as invariants, and a lake with COCO's own annotations."""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.models.evaluation import EvalConfig, evaluate, pope_lake
from captionlake.models.evaluation.benchmark import Item

from ..conftest import store_pictures

# p1 and p2 have four objects, and are asked about.
WORLD = {
    "p1": ["a", "b", "c", "d"],
    "p2": ["e", "f", "g", "h"],
    "p3": ["e", "x"],
    "p4": ["e", "f"],
    "p5": ["a", "h"],
    "p6": ["b", "h"],
    "p7": ["c", "g"],
}


def asked(items: list[Item], setting: str, picture: str, label: str) -> list[str]:
    found = [item for item in items if item.group == setting and item.picture == picture and item.answer == label]
    return [item.text.partition("\n")[0].removeprefix("Is there a").removeprefix("n").split()[0] for item in found]


def test_popular_and_adversarial_take_what_they_say() -> None:
    items = list(pope_lake.questions(WORLD))
    assert len(items) == 2 * 3 * 6
    # pictures: e 3, h 3, f 2, g 2, x 1; a and b are once with h, c once with g, d with none of these
    assert asked(items, "popular", "p1", "no") == ["e", "h", "f"]
    yes = asked(items, "random", "p1", "yes")
    expected: list[str] = []
    for thing in yes:
        first = {"a": "hefgx", "b": "hefgx", "c": "gehfx", "d": "ehfgx"}[thing]
        expected.append(next(one for one in first if one not in expected))
    assert asked(items, "adversarial", "p1", "no") == expected
    assert set(yes) < set(WORLD["p1"]) and len(set(yes)) == 3
    assert asked(items, "popular", "p1", "yes") == asked(items, "adversarial", "p1", "yes") == yes


def test_the_article_fits() -> None:
    texts = {item.text.partition("\n")[0] for item in pope_lake.questions(WORLD)}
    assert "Is there an e in the image?" in texts and "Is there a h in the image?" in texts


worlds = st.dictionaries(
    st.text("0123456789", min_size=1, max_size=4),
    st.lists(st.sampled_from("abcdefghijkl"), min_size=4, max_size=8, unique=True),
    min_size=2,
    max_size=12,
)


@given(worlds, st.integers(0, 1000))
def test_labels_are_true_halves_and_the_same_again(world: dict[str, list[str]], seed: int) -> None:
    try:
        items = list(pope_lake.questions(world, seed=seed))
    except CaptionlakeError:
        kinds = {one for there in world.values() for one in there}
        assert all(len(there) > len(kinds) - pope_lake.OBJECTS for there in world.values())
        return
    assert items == list(pope_lake.questions(dict(reversed(world.items())), seed=seed))
    counts = Counter((item.group, item.picture, item.answer) for item in items)
    assert set(counts.values()) == {pope_lake.OBJECTS}
    for item in items:
        thing = item.text.split()[3]
        assert (thing in world[item.picture]) == (item.answer == "yes")
    assert len({(item.group, item.picture, item.text) for item in items}) == len(items)


def test_the_seed_draws_pictures() -> None:
    world = {f"{number:03d}": list("abcd") for number in range(100)} | {"z": list("efgh")}
    drawn = [{item.picture for item in pope_lake.questions(world, seed=seed, pictures=10)} for seed in (0, 0, 1)]
    assert len(drawn[0]) == 10 and drawn[0] == drawn[1] != drawn[2]


def test_a_lake_is_asked_about(tmp_path: Path, lake: Lake, pictures: dict[str, bytes], random_llava: Path) -> None:
    objects = [{"cat": 1, "dog": 2, "cup": 1, "bed": 1}, {"tv": 1, "car": 1, "sink": 3, "bus": 1}]
    for number, (data, counts) in enumerate(zip(pictures.values(), objects, strict=False)):
        keys = {"source": "coco", "source_key": str(number), "meta": json.dumps({"objects": counts})}
        store_pictures(lake, [data], **keys)
    path = lake.path
    lake.close()
    found = pope_lake.read(path)
    try:
        assert len(found.items) == 2 * 3 * 6
        assert {found.pictures.read(item.picture) for item in found.items} == set(list(pictures.values())[:2])
    finally:
        found.pictures.close()
    config = EvalConfig(benchmarks={"pope-lake": path}, device="cpu")
    (one,) = evaluate(random_llava, config, tmp_path / "r.json").outcomes
    assert one.scores.keys() == {"POPE-lake"} and one.counts["asked"] == 36 and one.incomplete == ()


def test_a_lake_without_annotations_says_what_to_ingest(lake: Lake) -> None:
    path = lake.path
    lake.close()
    with pytest.raises(CaptionlakeError, match="instances_"):
        pope_lake.read(path)
