"""Licences: words to the Hub's identifiers, and the one that binds most."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captionlake.cards.licences import HUB_LICENCES, binding_licence, hub_licence


@pytest.mark.parametrize(
    ("text", "identifier"),
    [
        ("CC-BY-4.0", "cc-by-4.0"),
        ("CC BY 4.0", "cc-by-4.0"),
        ("Creative Commons BY-NC-SA 4.0", "cc-by-nc-sa-4.0"),
        ("http://creativecommons.org/licenses/by-nc/2.0/", "cc-by-nc-2.0"),
        ("https://creativecommons.org/licenses/by-sa/2.0/", None),  # the Hub knows 3.0 and 4.0 of it
        ("CC0", "cc0-1.0"),
        ("CC0-1.0", "cc0-1.0"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "cc0-1.0"),
        ("mit", "mit"),
        ("Apache License 2.0", "apache-2.0"),
        ("other", None),
        ("unknown", None),
        ("all rights reserved", None),
        ("CC BY", None),
        ("not cc-by-4.0", None),
        (None, None),
    ],
)
def test_words_to_identifiers(text: str | None, identifier: str | None) -> None:
    assert hub_licence(text) == identifier


@pytest.mark.parametrize(
    ("texts", "binding"),
    [
        (["CC-BY-4.0"], "cc-by-4.0"),
        (["CC-BY-4.0", "CC0-1.0"], "cc-by-4.0"),
        (["CC-BY-2.0", "CC0-1.0", "CC-BY-NC-4.0"], "cc-by-nc-4.0"),
        (["CC-BY-SA-4.0", "CC-BY-NC-SA-4.0"], "cc-by-nc-sa-4.0"),
        (["CC-BY-SA-4.0", "CC-BY-NC-4.0"], None),
        (["CC-BY-2.0", "CC-BY-4.0"], None),
        (["CC-BY-ND-4.0", "CC-BY-SA-4.0"], None),
        (["mit", "mit"], "mit"),
        (["mit", "CC-BY-4.0"], None),
        (["CC-BY-4.0", None], None),
        (["CC-BY-4.0", "my own"], None),
        ([], None),
    ],
)
def test_the_binding_licence(texts: list[str | None], binding: str | None) -> None:
    assert binding_licence(texts) == binding


@settings(deadline=None)
@given(st.lists(st.sampled_from([*sorted(HUB_LICENCES), "my own", None]), max_size=6))
def test_the_binding_licence_is_one_of_those_given_whatever_their_order(texts: list[str | None]) -> None:
    found = binding_licence(texts)
    assert found is None or found in texts
    assert binding_licence(texts[::-1]) == found
    assert None not in texts or found is None
