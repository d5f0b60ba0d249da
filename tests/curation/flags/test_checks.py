"""Rules that hold for any text: what is always found, and what never is."""

import json
import string
from itertools import pairwise
from typing import Any

import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from captionlake.curation.flag_command import NAMES
from captionlake.curation.flags import Flag, FlagConfig
from captionlake.curation.flags.checking import TEXT_FLAGS, check, tag
from captionlake.curation.flags.flag import MADE, Caption
from captionlake.curation.flags.personal_data import is_card, is_iban, masked
from captionlake.curation.flags.repetition import repetition
from captionlake.curation.flags.review_page import WEIGHTS
from captionlake.curation.flags.text import quotations, sentences, unquoted
from captionlake.lake.sources.word_counts import word_counts

CONFIG = FlagConfig()
WORDS = st.text(string.ascii_lowercase, min_size=1, max_size=12)
ANY_TEXT = st.text(max_size=600)


def flags(text: str, *only: Flag, config: FlagConfig = CONFIG, **told: object) -> set[str]:
    return {str(found.flag) for found in check(Caption(text=text, **told), config, only or TEXT_FLAGS)}  # type: ignore[arg-type]


@given(ANY_TEXT, st.sampled_from([*MADE, "human", "alt"]), st.lists(st.text(max_size=20), max_size=5))
def test_any_text_can_be_checked(text: str, kind: str, more: list[str]) -> None:
    """At most one finding a flag; spans lie in the text, and a detail is one line."""
    caption = Caption(
        text=text, kind=kind, prompt="\n".join(more), objects=("dog",), references=tuple(more), ocr=tuple(more)
    )
    found = check(caption, CONFIG)
    assert len({each.flag for each in found}) == len(found)
    for each in found:
        assert all(0 <= start < end <= len(text) for start, end in each.spans) or len(text.lower()) != len(text)
        assert "\n" not in each.detail


@given(ANY_TEXT)
def test_sentences_and_quotations_are_parts_of_the_text(text: str) -> None:
    for spans in (list(sentences(text)), quotations(text)):
        assert all(start < end <= len(text) for start, end in spans)
        assert all(before[1] <= after[0] for before, after in pairwise(spans))
    assert len(unquoted(text)) == len(text)


@given(
    st.lists(WORDS, min_size=3, max_size=12),
    st.lists(st.lists(WORDS, max_size=12), min_size=2, max_size=6),
    st.sampled_from(".!?"),
)
def test_a_sentence_said_three_times_is_a_loop(said: list[str], between: list[list[str]], end: str) -> None:
    """Whatever stands between, and however its letters are written."""
    sentence = " ".join(said)
    parts = [
        f"{sentence.capitalize() if n % 2 else sentence}{end} {' '.join(other)}{'.' if other else ''}"
        for n, other in enumerate(between)
    ]
    text = " ".join([*parts, f"{sentence}{end}"])
    assert repetition(Caption(text=text), CONFIG) is not None


@given(st.lists(WORDS, min_size=1, max_size=8), st.integers(10, 40))
def test_a_phrase_said_on_and_on_is_a_loop(said: list[str], times: int) -> None:
    assert repetition(Caption(text=" ".join(said * times)), CONFIG) is not None


@settings(max_examples=300)
@given(
    st.lists(WORDS, max_size=120, unique=True),
    st.lists(st.sampled_from([".", ",", "", "", "!"]), min_size=120, max_size=120),
)
def test_a_text_that_says_no_word_twice_is_no_loop(said: list[str], ends: list[str]) -> None:
    text = " ".join(f"{word}{end}" for word, end in zip(said, ends, strict=False))
    assert repetition(Caption(text=text), CONFIG) is None


@given(
    st.lists(
        st.sampled_from(["the", "a", "of", "dog", "cat", "tree", "is", "on", "and", "red"]), min_size=10, max_size=80
    )
)
def test_no_loop_without_a_repeated_row_of_words(said: list[str]) -> None:
    """Words may come again as often as they like, where no three in a row do."""
    threes = list(zip(said, said[1:], said[2:], strict=False))
    assume(len(set(threes)) == len(threes))
    assert repetition(Caption(text=" ".join(said)), CONFIG) is None


def test_what_is_said_twice_counts_where_it_is_much_of_the_text() -> None:
    part = "A tall man in a green coat stands at the corner of the street and reads a folded paper "
    part += "under a lamp while two dogs wait beside him. "
    more = "Across the water a ferry leaves its pier, gulls circle above the stern, and low sun falls on warehouses of dark brick."
    assert flags(part * 2, Flag.REPETITION) == {"repetition"}
    assert flags(part + more, Flag.REPETITION) == set()
    assert flags(more + "and reads a folded paper under a lamp, " + part, Flag.REPETITION) == set()


@given(
    st.text(string.ascii_letters + " ", max_size=200),
    st.sampled_from(["<|im_end|>", "[INST]", "<image>", "</s>", "<<SYS>>"]),
)
def test_a_template_token_is_found_anywhere(text: str, token: str) -> None:
    at = len(text) // 2
    assert "leaked_prompt" in flags(text[:at] + token + text[at:])


@given(st.lists(WORDS, min_size=8, max_size=40), st.lists(WORDS, max_size=20), st.lists(WORDS, max_size=20))
def test_eight_of_the_prompts_words_are_found_anywhere(prompt: list[str], before: list[str], after: list[str]) -> None:
    text = " ".join([*before, *prompt[:8], *after])
    assert "leaked_prompt" in flags(text, Flag.LEAKED_PROMPT, prompt=" ".join(prompt))


@given(st.text(string.ascii_letters + " .,", max_size=300))
def test_letters_alone_are_no_personal_data(text: str) -> None:
    assert flags(text, Flag.PERSONAL_DATA) == set()


@given(
    st.emails().filter(
        lambda text: text.isascii() and "[" not in text and all(c.isalnum() or c in "@.+-_" for c in text)
    )
)
def test_an_address_is_found_and_never_told_in_full(address: str) -> None:
    assume(address[0].isalnum() and not address.split("@")[1].split(".")[-1].startswith("xn--"))
    (found,) = check(Caption(text=f"Write to {address} soon."), CONFIG, (Flag.PERSONAL_DATA,))
    assert address not in found.detail
    assert address.split("@")[0] not in found.detail.replace("e-mail", "") or len(address.split("@")[0]) < 2


def test_no_detail_of_another_flag_tells_personal_data() -> None:
    values = ["jane@example.org", "(650) 253-0000", "4111 1111 1111 1111"]
    for value in values:
        for text in (
            f"Ask {value} now please. " * 4,
            f"The long sign over the small red door of the house says ask for {value}",
        ):
            found = check(Caption(text=text), CONFIG)
            assert {each.flag for each in found} & {Flag.REPETITION, Flag.CUT_OFF}
            assert not [each for each in found if value in each.detail]


@given(st.integers(10**11, 10**15 - 1))
def test_cards_have_the_luhn_sum(body: int) -> None:
    """Of the ten last digits that a card's number may end in, one alone is right."""
    right = [digit for digit in range(10) if is_card(f"4{body}{digit}")]
    assert len(right) == 1


@given(st.integers(0, 10**18 - 1))
def test_accounts_have_a_check_number(body: int) -> None:
    """Of the check numbers from 02 to 98, one alone is right (ISO 13616)."""
    assert sum(is_iban(f"DE{number:02d}{body:018d}") for number in range(2, 99)) == 1


@given(st.text(min_size=1, max_size=60))
def test_a_masked_value_shows_two_characters_at_most(value: str) -> None:
    shown = masked(value).replace("***", "").replace("@", "")
    assert len(shown) <= 2
    assert value not in masked(value) or not value.strip("*@")


def test_kinds_that_need_no_length_and_no_full_stop() -> None:
    text = "a man with a hat walks along the beach in the sun with his dogs"
    both = (Flag.TOO_SHORT, Flag.CUT_OFF)
    assert flags(text, *both, kind="teacher", collection="coco") == {"too_short", "cut_off"}
    for kind in ("human", "alt", "truncated"):
        assert flags(text, *both, kind=kind, collection="coco") == set()


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=600))
def test_a_short_texts_words_are_those_of_the_column_words(text: str) -> None:
    found = check(Caption(text=text, kind="teacher"), FlagConfig(minimum_else=1000), (Flag.TOO_SHORT,))
    assert [each.detail for each in found] == [f"{word_counts(pl.Series([text]))[0]} words, any wants 1000"]


def test_minimum_words_of_a_collection() -> None:
    text = "word " * 45 + "end."
    assert flags(text, Flag.TOO_SHORT, collection="coco") == {"too_short"}
    assert flags(text, Flag.TOO_SHORT, collection="other") == set()
    mine = FlagConfig(minimum_words={"other": 47, "coco": 0})
    assert flags(text, Flag.TOO_SHORT, collection="other", config=mine) == {"too_short"}
    assert flags(text, Flag.TOO_SHORT, collection="coco", config=mine) == set()
    assert flags(text, Flag.TOO_SHORT, collection="web", config=mine) == set()


def test_another_language_may_be_wanted() -> None:
    german = "Das Bild zeigt einen Mann, der mit seinem Hund durch eine verregnete Straße läuft, während hinter ihm Lichter leuchten."
    english = "The picture shows a man who walks with his dog along a wet street, while lights of the shops behind him are lit."
    config = FlagConfig(language="de")
    assert flags(german, Flag.WRONG_LANGUAGE, config=config) == set()
    assert flags(english, Flag.WRONG_LANGUAGE, config=config) == {"wrong_language"}


def test_a_number_without_country_is_known_by_its_region() -> None:
    text = "Ruf an: 030 901820 oder geh vorbei."
    assert flags(text, Flag.PERSONAL_DATA) == set()
    assert flags(text, Flag.PERSONAL_DATA, config=FlagConfig(phone_regions=("US", "DE"))) == {"personal_data"}


def test_a_tag_names_what_decides() -> None:
    """A threshold of one flag changes the tag of that flag alone, and no other setting does."""
    fields: dict[Flag, dict[str, Any]] = {
        Flag.HEDGING: {"hedging_share": 0.5, "hedging_sentences": 9},
        Flag.REPETITION: {"repeat_times": 4, "repeat_words": 7},
        Flag.WRONG_LANGUAGE: {"language": "de", "language_letters": 99},
        Flag.TOO_SHORT: {"minimum_words": {"coco": 9}, "minimum_else": 9},
        Flag.PERSONAL_DATA: {"phone_regions": ["DE"]},
        Flag.CONTRADICTS_SOURCE: {"contradicting_objects": 2, "unread_share": 0.9},
        Flag.OMITS_SOURCE: {"named_objects_share": 0.4, "named_text_share": 0.9, "omits_from_words": 9},
    }
    before = {flag: tag(flag, CONFIG) for flag in TEXT_FLAGS}
    for mine, settings_ in fields.items():
        for name, value in settings_.items():
            config = FlagConfig(**{name: value})
            assert [flag for flag in TEXT_FLAGS if tag(flag, config) != before[flag]] == [mine], name
    seen = {name for settings_ in fields.values() for name in settings_}
    assert seen | {"flags", "clipscore_z"} == set(json.loads(json.dumps(list(FlagConfig.__dataclass_fields__))))


def test_all_flags_have_a_weight_and_a_name_of_the_command() -> None:
    assert set(WEIGHTS) == set(Flag) == {*TEXT_FLAGS, Flag.CLIPSCORE_OUTLIER}
    assert [str(flag) for flag in Flag] == list(NAMES)


@pytest.mark.parametrize(
    "wrong",
    [
        {"flags": ["nosuch"]},
        {"flags": []},
        {"hedging_share": 1.5},
        {"language": "english"},
        {"minimum_words": {"coco": -1}},
        {"nosuch": 1},
        {"repeat_times": 1},
        {"phone_regions": ["us"]},
    ],
)
def test_a_wrong_configuration_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises((ValidationError, TypeError)):
        FlagConfig(**wrong)  # type: ignore[arg-type]
