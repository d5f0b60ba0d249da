"""Versions in the order of semver.org, and the parent of each release."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.ingest import ingest
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.releases.names import parse_release
from captionlake.lake.releases.release import create_release, find_release, list_releases
from captionlake.lake.releases.semver import is_version, parent_version, precedence

from .test_releases import draft

# Section 11 of semver.org has these in this order.
ORDERED = [
    *[
        "1.0.0-0",
        "1.0.0-2",
        "1.0.0-11",
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-alpha.beta",
        "1.0.0-beta",
        "1.0.0-beta.2",
    ],
    *["1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "1.0.10", "1.2.0", "2.0.0-x", "2.0.0", "2.1.0", "2.1.1", "10.0.0"],
]
PARTS = st.one_of(st.integers(0, 12).map(str), st.text("abAZ-", min_size=1, max_size=3))
NUMBER = st.integers(0, 3)
VERSIONS = st.builds(
    lambda numbers, pre, build: (
        ".".join(map(str, numbers)) + (f"-{'.'.join(pre)}" if pre else "") + (f"+{'.'.join(build)}" if build else "")
    ),
    st.tuples(NUMBER, NUMBER, NUMBER),
    st.lists(PARTS, max_size=3),
    st.lists(PARTS, max_size=2),
)


def test_the_order_of_the_standard() -> None:
    assert sorted(random.Random(1).sample(ORDERED, len(ORDERED)), key=precedence) == ORDERED
    assert len({precedence(version) for version in ORDERED}) == len(ORDERED)
    assert precedence("1.0.0+a") == precedence("1.0.0+b.2") == precedence("1.0.0")


@given(VERSIONS, VERSIONS, VERSIONS)
def test_it_is_an_order(one: str, two: str, three: str) -> None:
    assert all(map(is_version, (one, two, three)))
    first, second, third = sorted(map(precedence, (one, two, three)))
    assert first <= second <= third
    base = one.partition("+")[0].partition("-")[0]
    assert precedence(one) <= precedence(base)  # a pre-release comes before what it leads to
    assert ("-" in one.partition("+")[0]) == (precedence(one) < precedence(base))


@given(VERSIONS, st.lists(VERSIONS, max_size=6))
def test_the_parent_is_the_highest_that_is_not_above(version: str, others: list[str]) -> None:
    parent = parent_version(version, others)
    below = [precedence(other) for other in others if other != version and precedence(other) <= precedence(version)]
    assert (parent is None) == (not below)
    if parent is not None:
        assert parent in others and precedence(parent) == max(below)


@pytest.mark.parametrize(
    "text",
    ["1", "1.0", "v1.0.0", "01.0.0", "1.0.0-", "1.0.0-01", "1.0.0+", "1.0.0 ", "1.0.0\n", "١.0.0", "1.0.0-é", ""],
)
def test_other_versions_are_refused(text: str) -> None:
    assert not is_version(text)
    with pytest.raises(ValueError, match="no semantic version"):
        precedence(text)


def test_a_label_with_another_version_is_told_so() -> None:
    with pytest.raises(CaptionlakeError, match=r"'a@1\.0' names no release: 1\.0 is not a semantic version"):
        parse_release("a@1.0")
    assert parse_release(" a@1.0.0-rc.1+x ") == ("a", "1.0.0-rc.1+x")


def test_parents_are_recorded_and_the_list_is_in_order(lake: Lake, tile_folder: Callable[[int], Path]) -> None:
    ingest(lake, IngestConfig(source="folder", inputs=[str(tile_folder(12))]))
    made = [("2.0.0", None), ("1.10.0", None), ("1.9.0", None), ("1.10.1-rc.1", "1.10.0"), ("10.0.0", "2.0.0")]
    made += [("1.10.1", "1.10.1-rc.1"), ("2.0.0+built", "2.0.0")]
    for keep, (version, parent) in enumerate(made, 3):
        release, _ = create_release(lake, draft(lake, version, keep))
        assert release.parent == (parent and f"tiles@{parent}")
        assert find_release(lake, release.label).parent == release.parent
    listed = [release.version for release in list_releases(lake)]
    assert listed == ["1.9.0", "1.10.0", "1.10.1-rc.1", "1.10.1", "2.0.0", "2.0.0+built", "10.0.0"]
