"""Lemmas of single words by spaCy's rules, but for one mistake of theirs.

Where both are verbs, spaCy's rules take "rides" and "riding" for forms of "rid", "stares" and "staring" for forms of "star". But -es
follows hissing sounds and o alone, and a short stem of one vowel and one consonant doubles the consonant before -ing and -ed
("ridding", "starred"); so here it is "ride" and "stare".
"""

import re
from typing import Any

_TAKES_ES = re.compile(r".*(?:[sxzo]|ch|sh)")
_DOUBLES = re.compile(r"(?:[^aeiou\W]|qu)*[aeiou][^aeiouwxy\W]")


def lemma(token: Any, lemmatizer: Any | None) -> str:
    """A token's lemma in lower case; without ``lemmatizer``, the one that the token has."""
    if token.lemma or lemmatizer is None:
        return str(token.lemma_ or token.text).lower()
    found = str(lemmatizer.lemmatize(token)[0]).lower()
    ending = token.lower_.removeprefix(found)
    no_form = (ending == "es" and not _TAKES_ES.fullmatch(found)) or (
        ending in ("ing", "ed") and _DOUBLES.fullmatch(found) is not None
    )
    return f"{found}e" if no_form and token.pos_ == "VERB" and f"{found}e" in _verbs(lemmatizer) else found


def _verbs(lemmatizer: Any) -> Any:
    """The verbs that the rules know; none where the language's rules have no such list."""
    tables = lemmatizer.lookups
    return tables.get_table("lemma_index").get("verb", ()) if tables.has_table("lemma_index") else ()
