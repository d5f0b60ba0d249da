"""spaCy's attribute ruler, asked once for each kind of token.

It turns tags into parts of speech by some 180 patterns, each tried at each token: a third of the time of a parse. Nearly all of them look
at a token's tag, dependency and text in lower case alone, so what it says of these three is remembered. A text in which a
pattern of several tokens matches goes through the ruler as a whole.
"""

from typing import Any, Self

import numpy as np
import numpy.typing as npt

_LOOKED_AT = frozenset({"TAG", "LOWER", "DEP", "IS_SPACE"})  # whether it is space is told by its text
_REMEMBERED = 200_000  # kinds of tokens

Kind = tuple[int, int, int]  # the hashes of tag, text in lower case and dependency


class QuickRuler:
    """Takes the place of an attribute ruler that is left out of the pipeline."""

    def __init__(self, ruler: Any, vocab: Any, longer: list[list[dict[str, Any]]]) -> None:
        from spacy.matcher import Matcher

        self._ruler = ruler
        self._longer = Matcher(vocab)
        if longer:
            self._longer.add("longer", longer)
        self._known: dict[Kind, tuple[int, str, str]] = {}  # part of speech, morphology, lemma

    @classmethod
    def replacing(cls, nlp: Any) -> Self | None:
        """Take the pipeline's ruler out; None, and nothing is changed, where it is not there or looks at more of a token."""
        if "attribute_ruler" not in nlp.pipe_names:
            return None
        ruler = nlp.get_pipe("attribute_ruler")
        patterns = [pattern for entry in ruler.patterns for pattern in entry["patterns"]]
        if not all(_LOOKED_AT.issuperset(pattern[0]) for pattern in patterns if len(pattern) == 1):
            return None
        nlp.disable_pipe("attribute_ruler")
        return cls(ruler, nlp.vocab, [pattern for pattern in patterns if len(pattern) > 1])

    def parts_of_speech(self, doc: Any) -> npt.NDArray[np.uint64]:
        """Of each token (T,), as the ruler would set it. The document stays as it is, or is set as a whole."""
        if len(self._longer) and self._longer(doc, allow_missing=True):
            self._ruler(doc)
            pos: npt.NDArray[np.uint64] = doc.to_array("POS")
            return pos
        kinds = map(tuple, doc.to_array(["TAG", "LOWER", "DEP"]).tolist())
        known = self._known
        found = [known[kind][0] if kind in known else self._ask(doc[at], kind)[0] for at, kind in enumerate(kinds)]
        return np.array(found, dtype=np.uint64)

    def set(self, token: Any) -> None:
        """Set what the ruler would set of a token, where the document was not set as a whole."""
        if not token.pos:
            pos, morph, lemma = self._ask(token, (token.tag, token.lower, token.dep))
            token.pos = pos
            token.set_morph(morph)
            if lemma:
                token.lemma_ = lemma

    def _ask(self, token: Any, kind: Kind) -> tuple[int, str, str]:
        if kind in self._known:
            return self._known[kind]
        from spacy.tokens import Doc

        alone = Doc(token.vocab, words=[token.lower_], tags=[token.tag_], heads=[0], deps=[token.dep_])
        self._ruler(alone)
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[kind] = alone[0].pos, str(alone[0].morph), alone[0].lemma_
        return self._known[kind]
