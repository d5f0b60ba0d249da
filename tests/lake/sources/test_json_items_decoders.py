"""Many items at once and item by item: both decoders of JSON lists give the same, wherever the windows end, or the same error."""

import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from captionlake.errors import CaptionlakeError
from captionlake.lake.sources import json_items as module
from captionlake.lake.sources.json_items import POLYGONS, json_batches, text_of
from captionlake.lake.sources.source import Rows, clean, frames
from captionlake.lake.sources.word_counts import word_counts

SLOW = settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))

# Text that a search for the end of an item can take for one, and what one of the decoders alone takes.
TRAPS = st.sampled_from(
    ['}, {"id": 1', '", "', '"}, {"id"', "},{", "]", "\\", "\x00", "\n", "\ud800", "é🐕", "\u2028", ""]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(10**18, 10**40)
    | st.floats()  # NaN and the infinities too
    | st.text(max_size=5)
    | TRAPS
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "x", ""]) | TRAPS, inner, max_size=3)
    ),
    max_leaves=5,
)
ROWS = st.lists(st.fixed_dictionaries({"id": SCALARS}, optional={"x": VALUES, "y": TRAPS}), max_size=12)
LISTS = ROWS | st.lists(TRAPS | st.text(max_size=4), max_size=12) | st.lists(VALUES, max_size=6)
ODD = [b"{", b"}", b"[", b"]", b",", b'"', b"\\", b" ", b"NaN", b"1e999", b"-", b"\x01",
       b"\\ud800", b"9" * 5000, b"\xff", b"[" * 300]  # fmt: skip


def found(path: Path, drop: bool) -> tuple[list[str], str | None]:
    """Every item, with its types, and the error."""
    items: list[str] = []
    try:
        for name, batch in json_batches(path, "", "a", "b", drop=POLYGONS if drop else None):
            items += [repr((name, item)) for item in batch]
    except CaptionlakeError as error:
        return items, str(error)
    return items, None


def alike(one: tuple[list[str], str | None], other: tuple[list[str], str | None]) -> bool:
    """The same items and error; of a file with a byte that is not UTF-8, as many items as were read before its window."""
    if one[1] is not None and one[1] == other[1] and "not UTF-8" in one[1]:
        common = min(len(one[0]), len(other[0]))
        return one[0][:common] == other[0][:common]
    return one == other


@SLOW
@given(
    document=LISTS | st.dictionaries(st.sampled_from(["a", "b", "c"]), LISTS, max_size=3),
    layout=st.tuples(st.sampled_from([None, 0, 2]), st.booleans(), st.sampled_from([(", ", ": "), (",", ":"), (" ,\t", " : ")])),
    change=st.none() | st.tuples(st.floats(0, 1), st.sampled_from(["insert", "cut", "remove"]), st.sampled_from(ODD)),
    sizes=st.tuples(st.integers(1, 400), st.integers(1, 200)),
    drop=st.booleans(),
)  # fmt: skip
def test_both_decoders_agree(
    document: Any,
    layout: Any,
    change: Any,
    sizes: tuple[int, int],
    drop: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    indent, ascii, separators = layout
    text = json.dumps(document, indent=indent, ensure_ascii=ascii, separators=separators)
    data = text.encode("utf-8", "replace")
    if change is not None:
        where, how, odd = change
        at = int(where * len(data))
        data = data[:at] + {"insert": odd + data[at:], "cut": b"", "remove": data[at + 1 :]}[how]
    path = tmp_path_factory.getbasetemp() / "agree.json"
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_READ_BYTES", sizes[0])
        patch.setattr(module, "_BATCH", sizes[1])
        both = found(path, drop)
        patch.setattr(module, "_READ_BYTES", 2**20)
        patch.setattr(module, "_BATCH", 2**15)
        assert alike(found(path, drop), both)
        patch.setattr(module, "_BEGINNING", re.compile("(?!)"))  # never many at once
        assert alike(found(path, drop), both)


def test_most_items_are_decoded_many_at_once(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    turns = [{"from": "human", "value": "}, {"}, {"from": "gpt", "value": '"}, {"id": "'}]
    for indent in (None, 2):
        path.write_text(json.dumps([{"id": n, "conversations": turns} for n in range(5000)], indent=indent))
        sizes = [len(items) for _, items in json_batches(path, "")]
        assert sum(sizes) == 5000 and len(sizes) < 200


@SLOW
@given(st.text(max_size=8) | SCALARS)
def test_text_of_a_scalar_is_clean(value: object) -> None:
    assert text_of(value) == clean(value)
    if isinstance(value, str):
        wanted = value.encode("utf-8", "replace").decode().replace("\x00", "").strip()
        assert clean(value) == (wanted or None)


@SLOW
@given(
    st.lists(
        st.none()
        | st.text(
            st.sampled_from("ab \n\t\x0b\x1c\x1f\x85\xa0\u1680\u2003\u2028\u202f\u205f\u3000\u200bé€🐕"), max_size=9
        )
    )
)
def test_word_counts_are_those_of_the_expression(texts: list[str | None]) -> None:
    series = pl.Series("text", texts, pl.String)
    wanted = series.str.count_matches(r"\S+")
    assert word_counts(series).to_list() == wanted.to_list()
    assert word_counts(series[1:]).to_list() == wanted[1:].to_list()
    many = pl.concat([series] * 300) if texts else series
    assert word_counts(many).to_list() == wanted.to_list() * (300 if texts else 1)


PARTS = st.fixed_dictionaries(
    {},
    optional={
        "archive": st.just("a.zip"),
        "member": st.text(max_size=3),
        "offset": st.integers(0, 9),
        "bad": st.just("gone"),
    },
)
TEXTS = st.lists(st.text(max_size=3), max_size=3)


@SLOW
@given(st.lists(st.tuples(st.text(max_size=3), st.none() | st.just("http://a.invalid"), TEXTS, PARTS), max_size=6))
def test_rows_by_columns_are_rows_by_dictionaries(drawn: list[Any]) -> None:
    rows = Rows("train", "human", "CC-BY-4.0")
    wanted = []
    for key, url, texts, part in drawn:
        rows.add(key, url, texts, bad=None if url else "no URL", part=part)
        captions = [{"text": text, "kind": "human", "license": "CC-BY-4.0"} for text in texts]
        row = {"source_key": key, "subset": "train", "url": url, "captions": captions, "meta": "{}"}
        wanted.append(row | {"bad": None if url else "no URL"} | part)
    taken = [frame.to_dicts() for frame in rows.take()]
    assert taken == [frame.to_dicts() for frame in frames(wanted)]
    assert list(rows.take()) == []
