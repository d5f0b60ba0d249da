"""Items made ahead are the same items, and a thread that makes them ends."""

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionlake.lake.exports.ahead import ahead


@given(st.lists(st.integers(), max_size=30), st.integers(1, 5))
def test_the_same_items_in_the_same_order(items: list[int], most: int) -> None:
    assert list(ahead(iter(items), most)) == items


def test_an_error_comes_through_after_what_was_made() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("here")

    found = ahead(broken())
    assert next(found) == 1
    with pytest.raises(ValueError, match="here"):
        next(found)


def test_who_stops_early_stops_the_making() -> None:
    made: list[int] = []

    def endless() -> Iterator[int]:
        while True:
            made.append(len(made))
            yield made[-1]

    found = ahead(endless(), 2)
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    found.close()
    assert len(made) <= 7
    assert not any(thread.name == "ahead" for thread in threading.enumerate())
