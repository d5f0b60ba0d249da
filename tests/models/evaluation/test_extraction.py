"""What an answer says, by the rules that stand in the docstrings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionlake.models.evaluation import extraction

OPTIONS = (("A", "a cat"), ("B", "a black cat"), ("C", "dog"))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("Yes", "yes"),
        ("yes.", "yes"),
        ("No, there is none.", "no"),
        ("  NO", "no"),
        ("y", "yes"),
        ("n", "no"),
        ("nothing", None),
        ("Yesterday", None),
        ("not sure", None),
        ("The answer is yes", None),
        ("", None),
        ("猫", None),
    ],
)
def test_yes_or_no(answer: str, said: str | None) -> None:
    assert extraction.yes_or_no(answer) == said


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("B", "B"),
        ("b", "B"),
        ("(B)", "B"),
        ("B.", "B"),
        ("B. a black cat", "B"),
        ("(C) dog", "C"),
        ("B) a black cat", "B"),
        ("A cat", None),
        ("D", None),
        ("BC", None),
        ("Both", None),
        ("", None),
        ("dog", None),
    ],
)
def test_letter(answer: str, said: str | None) -> None:
    assert extraction.letter(answer, OPTIONS) == said


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("C", "C"),
        ("dog", "C"),
        ("It is a dog.", "C"),
        ("A cat", "A"),
        ("a black cat", "B"),
        ("It is a black cat.", "B"),
        ("hotdog", None),
        ("a cat or a dog", None),
        ("a horse", None),
    ],
)
def test_letter_or_text(answer: str, said: str | None) -> None:
    assert extraction.letter_or_text(answer, OPTIONS) == said


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ("0.7", 0.7),
        ("Score: 0.7", 0.7),
        ("1", 1.0),
        ("0.5\nHalf of it.", 0.5),
        ("0.7.", 0.7),
        ("7", None),
        ("Score (0-1): 0.7", None),
        ("0.5/1", None),
        ("-1", None),
        ("I cannot tell", None),
        ("", None),
    ],
)
def test_score_between(reply: str, score: float | None) -> None:
    assert extraction.score_between(reply, 0.0, 1.0) == score


@pytest.mark.parametrize(
    ("reply", "scores"),
    [
        ("8 7", (8.0, 7.0)),
        ("8.5, 7\nbecause", (8.5, 7.0)),
        ("8;10", (8.0, 10.0)),
        ("8/10", None),
        ("8 7 6", None),
        ("11 7", None),
        ("0 7", None),
        ("8", None),
        ("Assistant 1: 8", None),
        ("", None),
    ],
)
def test_two_scores(reply: str, scores: tuple[float, float] | None) -> None:
    assert extraction.two_scores(reply, 1.0, 10.0) == scores


@given(st.text(max_size=40))
def test_nothing_but_the_allowed_comes_out(answer: str) -> None:
    assert extraction.yes_or_no(answer) in ("yes", "no", None)
    assert extraction.letter(answer, OPTIONS) in ("A", "B", "C", None)
    assert extraction.letter_or_text(answer, OPTIONS) in ("A", "B", "C", None)
    score = extraction.score_between(answer, 0.0, 1.0)
    assert score is None or 0.0 <= score <= 1.0
    pair = extraction.two_scores(answer, 1.0, 10.0)
    assert pair is None or all(1.0 <= each <= 10.0 for each in pair)
