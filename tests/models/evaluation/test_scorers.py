"""Scores against examples that were computed by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionlake.models.evaluation import llava_wild, mm_vet, mmbench, mme, pope, seed_bench
from captionlake.models.evaluation.benchmark import Answered, Item

OPTIONS = (("A", "a cat"), ("B", "a cup"), ("C", "rain"), ("D", "snow"))


def item(id: str, answer: str, **more: object) -> Item:
    told: dict[str, object] = {"text": "?", "picture": id, "unit": id} | more
    return Item(id=id, answer=answer, **told)  # type: ignore[arg-type]


def mme_answers(subtask: str, *pictures: tuple[str, str]) -> list[Answered]:
    """Two answers a picture, where yes and no are right."""
    found = []
    for number, said in enumerate(pictures):
        unit = f"{subtask}/{number}"
        for at, (right, text) in enumerate(zip(("yes", "no"), said, strict=True)):
            found.append(Answered(item(f"{unit}:{at}", right, unit=unit, group=subtask), text))
    return found


def test_mme_adds_accuracy_and_accuracy_plus() -> None:
    # existence: 3 of 4 questions right, 1 of 2 pictures with both: 75 + 50. OCR: all right: 200. code: 1 of 2, none of 1: 50 + 0.
    answers = mme_answers("existence", ("Yes", "No"), ("Yes.", "yes"))
    answers += mme_answers("OCR", ("yes", "no"))
    answers += mme_answers("code_reasoning", ("Yes", "I do not know"))
    scored = mme.score(answers)
    assert scored.parts == {"existence": 125.0, "OCR": 200.0, "code_reasoning": 50.0}
    assert scored.columns == {"MME-P": 325.0, "MME-C": 50.0}
    assert scored.unparsed == ("code_reasoning/0:1",)


def test_mme_sums_to_2000_and_800_at_most() -> None:
    answers = [one for subtask in (*mme.PERCEPTION, *mme.COGNITION) for one in mme_answers(subtask, ("yes", "no"))]
    assert mme.score(answers).columns == {"MME-P": 2000.0, "MME-C": 800.0}
    assert mme.score([]).columns == {"MME-P": None, "MME-C": None}


def test_mmbench_counts_a_question_only_if_every_pass_is_right() -> None:
    answers = [
        Answered(item("1", "A", unit="1", group="counting", options=OPTIONS), "A"),
        Answered(item("1000001", "B", unit="1", group="counting", options=OPTIONS), "a cup"),
        Answered(item("2", "A", unit="2", group="counting", options=OPTIONS), "A."),
        Answered(item("1000002", "B", unit="2", group="counting", options=OPTIONS), "A"),
        Answered(item("3", "C", unit="3", group="weather", options=OPTIONS), "It is rain"),
        Answered(item("4", "C", unit="4", group="weather", options=OPTIONS), "E, none of them"),
    ]
    scored = mmbench.score(answers)
    assert scored.columns == {"MMB": 50.0}
    assert scored.parts == {"counting": 50.0, "weather": 50.0}
    assert scored.unparsed == ("4",)
    assert mmbench.score(answers, "MMB-CN").columns == {"MMB-CN": 50.0}


def test_seed_takes_letters_alone_and_tells_pictures_from_videos() -> None:
    def asked(id: str, kind: str) -> Item:
        return item(id, "B", group="Instance Counting", options=OPTIONS, tags=(kind,))

    pictures = [
        Answered(asked("1", "image"), "B"),
        Answered(asked("2", "image"), "A"),
        Answered(asked("3", "image"), "b."),
    ]
    scored = seed_bench.score([*pictures, Answered(asked("4", "image"), "a cup")])
    assert scored.columns == {"SEED-I": 50.0, "SEED": None}
    assert scored.unparsed == ("4",)
    scored = seed_bench.score([*pictures[:1], Answered(asked("v1", "video"), "C"), Answered(asked("v2", "video"), "C")])
    assert scored.columns == {"SEED-I": 100.0, "SEED": pytest.approx(100 / 3)}


def test_mm_vet_leaves_out_what_cannot_be_parsed() -> None:
    judged = [
        Answered(item("v1_0", "x", tags=("ocr", "math")), "a", "1.0"),
        Answered(item("v1_1", "x", tags=("ocr",)), "a", "0.2"),
        Answered(item("v1_2", "x", tags=("rec",)), "a", "no idea"),
        Answered(item("v1_3", "x", tags=("rec",)), "a", None),
    ]
    scored = mm_vet.score(judged)
    assert scored.columns == {"MM-Vet": pytest.approx(60.0)}
    assert scored.parts == {"math": pytest.approx(100.0), "ocr": pytest.approx(60.0)}
    assert scored.unparsed == ("v1_2",)
    assert mm_vet.score([]).columns == {"MM-Vet": None}


def test_llava_w_is_a_ratio_of_means_and_not_a_mean_of_ratios() -> None:
    judged = [
        Answered(item("0", "x", group="conv"), "a", "10 5"),
        Answered(item("1", "x", group="conv"), "a", "8 8\nequal"),
        Answered(item("2", "x", group="detail"), "a", "6 3"),
        Answered(item("3", "x", group="complex"), "a", "The first is better."),
    ]
    scored = llava_wild.score(judged)
    assert scored.columns == {"LLaVA-W": pytest.approx(100 * 16 / 24)}
    assert scored.parts == {"conv": pytest.approx(100 * 13 / 18), "detail": pytest.approx(50.0)}
    assert scored.unparsed == ("3",)


def test_pope_measures() -> None:
    # yes: 3 of 4 said yes, 1 no. no: 1 said yes, 2 no, 1 neither. tp 3, fp 1, right 5 of 8, yes 4 of 8.
    told = [("yes", "Yes"), ("yes", "yes"), ("yes", "Yes."), ("yes", "No")]
    told += [("no", "Yes"), ("no", "No"), ("no", "no"), ("no", "perhaps")]
    answers = [Answered(item(str(at), label, group="random"), said) for at, (label, said) in enumerate(told)]
    scored = pope.score(answers)
    expected = {"accuracy": 62.5, "precision": 75.0, "recall": 75.0, "F1": 75.0, "yes": 50.0}
    assert scored.parts == {f"random {name}": value for name, value in expected.items()}
    assert scored.columns == {"POPE": 75.0}
    assert scored.unparsed == ("7",)
    popular = [Answered(item("p1", "yes", group="popular"), "yes"), Answered(item("p2", "no", group="popular"), "no")]
    assert pope.score([*answers, *popular]).columns == {"POPE": pytest.approx(87.5)}


@given(
    st.lists(st.tuples(st.sampled_from(["yes", "no"]), st.sampled_from(["Yes", "No", "?"])), min_size=1, max_size=40)
)
def test_pope_agrees_with_scikit_learn(told: list[tuple[str, str]]) -> None:
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support

    parts = pope.score([Answered(item(str(at), y, group="r"), said) for at, (y, said) in enumerate(told)]).parts
    truth, said = [label for label, _ in told], [text.lower() for _, text in told]
    precision, recall, f1, _ = precision_recall_fscore_support(truth, said, labels=["yes"], zero_division=0)
    assert parts["r accuracy"] == pytest.approx(100 * accuracy_score(truth, said))
    for name, value in (("precision", precision), ("recall", recall), ("F1", f1)):
        assert parts.get(f"r {name}", 0.0) == pytest.approx(100 * value[0])


@given(st.lists(st.lists(st.booleans(), min_size=2, max_size=2), min_size=1, max_size=20))
def test_mme_accuracy_plus_is_at_most_accuracy(right: list[list[bool]]) -> None:
    told = [("yes" if one else "no", "no" if other else "yes") for one, other in right]
    score = mme.score(mme_answers("count", *told)).parts["count"]
    accuracy = 100 * sum(map(sum, right)) / (2 * len(right))
    assert accuracy <= score + 1e-9 and score <= 2 * accuracy + 1e-9
