"""Names of COCO's classes in texts, what is annotated beside them, and CHAIR."""

import json
from importlib.resources import files

import pytest

from captionlake.curation.flags.disagreement import compare_objects
from captionlake.curation.flags.flag import Caption
from captionlake.curation.flags.objects import mentions, token_spans
from captionlake.curation.flags.ocr import text_recall

DOCUMENT = json.loads(files("captionlake.curation.flags").joinpath("coco_objects.json").read_text())


def named(text: str, *, sure: bool = True) -> list[str]:
    return ["/".join(found.classes) for found in mentions(text) if found.sure or not sure]


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("A hot dog and a dog.", ["hot dog", "dog"]),
        ("A hot-dog stand beside a dog house.", []),
        ("Toilet paper above the toilet.", ["toilet"]),
        ("A teddy bear, a bear and a stuffed bear.", ["teddy bear", "bear", "teddy bear"]),
        ("A bus stop, where a bus waits.", ["bus"]),
        ("Men, women and children with knives.", ["person", "person", "person", "knife"]),
        ("A man's hat.", ["person"]),
        ("A fire hydrant by a fire truck.", ["fire hydrant", "truck"]),
        ("The sign bears the name of a polar bear.", ["bear"]),
        ("A bird’s-eye view of wine glasses.", ["wine glass"]),
        ("Snowboards and surf boards.", ["snowboard", "surfboard"]),
        ("An armchair.", ["chair/couch"]),
        ("No people are here.", []),
        ("There are no people, cars or dogs. A cat sleeps.", ["cat"]),
        ("A street without any people or cars.", []),
        ("Not only a dog but a cat.", ["dog", "cat"]),
        ("A cloud like a horse, and a statue of an elephant.", []),
        ("A cat-shaped clock.", ["clock"]),
        ("An orange jacket in a remote area; a mouse.", []),
        ("Three oranges and a computer mouse.", ["orange", "mouse"]),
        ("She ties a bow tie.", ["tie"]),
        ("Carrot cake with cupcakes.", ["cake"]),
        ("", []),
        ("İ ŉ ﬁ ß dog", ["dog"]),
    ],
)
def test_names(text: str, classes: list[str]) -> None:
    assert named(text) == classes


def test_doubtful_names_are_names_of_what_is_there() -> None:
    assert named("An orange jacket, a statue of a bear.", sure=False) == ["orange", "bear"]


def test_every_class_is_known_by_its_own_name() -> None:
    """The category names of instances_*.json themselves, in singular."""
    assert len(DOCUMENT["classes"]) == 80
    for name in DOCUMENT["classes"]:
        assert name in [each for found in mentions(f"There is a {name}.") for each in found.classes], name


def test_no_name_is_both_a_class_and_something_else() -> None:
    words = {word for kinds in DOCUMENT["classes"].values() for word in [*kinds["words"], *kinds["unsure"]]}
    assert not words & set(DOCUMENT["other"])
    assert len(DOCUMENT["other"]) == len(set(DOCUMENT["other"]))


def test_figures_of_one_caption() -> None:
    caption = Caption(
        text="A man and two men with a dog, a puppy and a frisbee beside a plant.",
        objects=("person", "dog", "bench"),
        references=("People play near a kite.",),
    )
    found = compare_objects(caption)
    assert found.annotated == {"person", "dog", "bench"}
    assert found.named == {"person", "dog"}
    assert found.mentioned == {"person", "dog", "frisbee"}
    assert found.hallucinated == {"frisbee"}
    assert [caption.text[start:end] for start, end in found.spans] == ["frisbee"]


def test_what_people_say_is_there_too() -> None:
    caption = Caption(text="A kite.", objects=("person",), references=("A man flies his kite.",))
    assert compare_objects(caption).hallucinated == frozenset()
    assert compare_objects(Caption(text="A kite.", objects=("person",))).hallucinated == {"kite"}


def test_spans_are_those_of_the_tokens() -> None:
    text = "A man’s hot-dog."
    assert [text[start:end] for start, end in token_spans(text)] == ["A", "man’s", "hot", "dog", "."]


@pytest.mark.parametrize(
    ("text", "ocr", "recall"),
    [
        ("The sign says Grand Hotel.", ("GRAND", "HOTEL"), (2, 2)),
        ("The sign says Grand Hotel.", ("GRAN D", "H0TEL", "7", "to"), (2, 2)),
        ("A building.", ("GRAND", "HOTEL"), (2, 0)),
        ("A hand and a hose.", ("grand", "house"), (2, 1)),  # as near as a misreading
        ("A building.", (), (0, 0)),
    ],
)
def test_strings_that_are_said(text: str, ocr: tuple[str, ...], recall: tuple[int, int]) -> None:
    assert text_recall(text, ocr) == recall
