"""Pairs in sentences whose pair a reader wrote down before the parser saw them, and the rules on parses made by hand."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionlake.curation.analysis.lemmas import lemma
from captionlake.curation.analysis.parser import COUNTED, LONGEST, Parser, find_package, load_parser
from captionlake.curation.analysis.root_pairs import root_pairs
from captionlake.errors import CaptionlakeError

GOLD = Path(__file__).with_name("gold_pairs.tsv")
# The parser takes "crosses" for the noun, and "riding" for its verb.
WRONG = {"A woman riding a bicycle crosses the street.": "ride bicycle"}
TEXT = "Two tall men are slowly riding the 3 brown horses of Paris. Look: $5!"


@pytest.fixture(scope="module")
def parser() -> Parser:
    return load_parser()


def test_pairs_that_a_reader_finds(parser: Parser) -> None:
    with GOLD.open(encoding="utf-8", newline="") as file:
        gold = {row["sentence"]: row["pair"] for row in csv.DictReader(file, delimiter="\t")}
    assert len(gold) == 40
    counts = parser.counts(list(gold))
    found = {sentence: " / ".join(count["pairs"]) for sentence, count in zip(gold, counts, strict=True)}
    wrong = {sentence: pair for sentence, pair in found.items() if pair != gold[sentence]}
    sys.stdout.write(f"{len(gold) - len(wrong)} of {len(gold)} pairs are those that a reader finds\n")  # shown with -s
    assert wrong == WRONG
    assert {count["sentences"] for count in counts} == {1}


def test_counts_are_those_of_the_whole_pipeline(parser: Parser) -> None:
    import spacy

    whole = spacy.load(find_package()[0])
    texts = [TEXT, "", "  \n ", "?!", "A cat.  It sits there.\n\nIt is 3 years old, isn't it?", "猫", TEXT.lower()]
    texts += [
        "There is a tower; there's a gate.",
        "Let's go! She ain't gonna go, y'all got to.",
        "It\u00a0has had, does, did all.",
    ]
    texts += [line.partition("\t")[0] for line in GOLD.read_text(encoding="utf-8").splitlines()]
    for text, counts in zip(texts, parser.counts(texts), strict=True):
        tokens = [token for token in whole(text) if token.pos_ != "SPACE"]
        words = [token for token in tokens if token.pos_ not in ("PUNCT", "SYM")]
        assert (counts["tokens"], counts["words"]) == (len(tokens), len(words)), text
        assert counts["sentences"] == len({token.sent.start for token in words}), text
        for name, label in COUNTED.items():
            assert counts[name] == sum(token.pos_ == label for token in words), (text, name)
    assert parser.counts([TEXT])[0]["pairs"] == ["ride horse"]


def test_a_lemma_is_spacys_but_where_its_rules_are_wrong(parser: Parser) -> None:
    import spacy

    whole = spacy.load(find_package()[0])
    words = ["riding", "staring", "hopping", "hoping", "tapping", "taping", "running", "seeing", "opening", "fixing"]
    words += ["rides", "stares", "crosses", "goes", "sees"]
    right = ["ride", "stare", "hop", "hope", "tap", "tape", "run", "see", "open", "fix"]
    right += ["ride", "stare", "cross", "go", "see"]
    docs = [whole(f"She {'was ' if word.endswith('ing') else ''}{word} it.") for word in words]
    told = [(doc[-3].pos_, lemma(_Bare(doc[-3]), parser.lemmatizer), doc[-3].lemma_) for doc in docs]
    assert {pos for pos, _, _ in told} == {"VERB"}
    assert [ours for _, ours, _ in told] == right
    differ = [word for word, (_, ours, spacys) in zip(words, told, strict=True) if ours != spacys]
    assert differ == ["riding", "staring", "hoping", "taping", "rides", "stares"]


class _Bare:
    """A token whose lemma is not known yet."""

    lemma = 0

    def __init__(self, token: object) -> None:
        self._token = token

    def __getattr__(self, name: str) -> object:
        return getattr(self._token, name)


@given(st.data())
def test_the_nearest_verb_with_an_object_is_found(data: st.DataObject) -> None:
    """Against a search from the root, level by level, over parses that are any trees."""
    n = data.draw(st.integers(1, 14))
    order = data.draw(st.permutations(range(n)))
    heads = np.arange(n)
    for place, token in enumerate(order):
        heads[token] = order[data.draw(st.integers(0, max(place - 1, 0)))] if data.draw(st.booleans()) else token
    verbs = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    objects = [token for token in range(n) if heads[token] != token and data.draw(st.booleans())]
    expected = []
    for root in np.flatnonzero(heads == np.arange(n)).tolist():
        level = [root]
        while level:
            found = [(verb, noun) for verb in level if verbs[verb] for noun in objects if heads[noun] == verb]
            if found:
                expected.append(found[0])
                break
            level = sorted(token for token in range(n) if heads[token] in level and heads[token] != token)
    assert root_pairs(verbs, objects, heads) == sorted(expected)


def test_a_text_longer_than_spacy_takes_is_parsed_in_pieces(parser: Parser) -> None:
    sentence = "The man holds a dog. "
    long = sentence * (2 * LONGEST // len(sentence))
    counts = parser.counts([long, sentence])
    assert counts[0]["words"] == long.count("dog") * 5
    assert counts[0]["pairs"].count("hold dog") > 0.99 * long.count("dog")


def test_neighbours_do_not_change_what_is_counted(parser: Parser) -> None:
    texts = [f"{TEXT} {number} {word}s hold a {word}." for number in range(20) for word in ("cat", "blue box", "Rome")]
    together = parser.counts(texts)
    assert together == [parser.counts([text])[0] for text in texts]
    assert parser.counts([*texts, *texts[::-1]]) == [*together, *together[::-1]]


def test_a_package_that_is_not_there_is_told() -> None:
    with pytest.raises(
        CaptionlakeError, match=r"xx_no_such is not installed: run  pip install 'captionlake\[analysis\]'"
    ):
        find_package("xx_no_such")
    with pytest.raises(CaptionlakeError, match="numpy does not load in spaCy"):
        load_parser("numpy")
