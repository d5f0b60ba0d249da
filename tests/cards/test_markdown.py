"""Hostile text in Markdown: it shows, and does nothing else."""

import re
from html import unescape
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from captionlake.cards.licences import slug
from captionlake.cards.markdown import Safe, code, excerpt, fenced, link, markdown, one_line, table, web_url

from .texts import HOSTILE, hostile_text

PARSER = MarkdownIt("commonmark", {"html": True}).enable("table").enable("strikethrough")


def _flat(text: str) -> list[Token]:
    return [token for block in PARSER.parse(text) for token in (block.children or [block])]


def _shown(text: str) -> str:
    """What a reader sees: the rendering without tags and comments, on one line."""
    html = re.sub(r"<!--.*?-->", "", PARSER.render(text))
    return " ".join(unescape(re.sub(r"<[^>]*>", "", html)).split())


@settings(deadline=None)
@given(hostile_text())
def test_inline_text_is_one_paragraph_of_itself(text: str) -> None:
    written = markdown(text)
    blocks = [token.type for token in PARSER.parse(written)]
    assert blocks in ([], ["paragraph_open", "inline", "paragraph_close"])
    for token in _flat(written):
        assert token.type in ("text", "text_special", "html_inline", "paragraph_open", "paragraph_close"), token
        if token.type == "html_inline":
            assert token.content == "<!-- -->"
    assert _shown(written) == one_line(text)


@settings(deadline=None)
@given(hostile_text())
def test_text_after_a_list_marker_stays_the_items_text(text: str) -> None:
    kinds = [token.type for token in PARSER.parse(f"- {markdown(text)}")]
    inside = ["paragraph_open", "inline", "paragraph_close"] if one_line(text) else []
    assert kinds == ["bullet_list_open", "list_item_open", *inside, "list_item_close", "bullet_list_close"]


@settings(deadline=None)
@given(hostile_text())
def test_a_heading_stays_one_heading(text: str) -> None:
    kinds = [token.type for token in PARSER.parse(f"# Card for {markdown(text)}\n\ntext")]
    assert kinds[:3] == ["heading_open", "inline", "heading_close"]
    assert "heading_open" not in kinds[3:]


@settings(deadline=None)
@given(st.lists(st.tuples(hostile_text(), hostile_text(), st.integers()), max_size=5))
def test_a_table_keeps_its_shape_and_its_words(rows: list[tuple[str, str, int]]) -> None:
    written = table(["one", "two", "three"], [(a, code(b), n) for a, b, n in rows])
    tokens = PARSER.parse(written)
    assert sum(token.type == "table_open" for token in tokens) == 1
    assert sum(token.type == "tr_open" for token in tokens) == len(rows) + 1
    assert sum(token.type == "td_open" for token in tokens) == 3 * len(rows)
    cells = [_shown_inline(after) for before, after in pairwise(tokens) if before.type == "td_open"]
    for (a, _, n), cell, number in zip(rows, cells[::3], cells[2::3], strict=True):
        assert cell == excerpt(a, 160)
        assert number == f"{n:,}"


def _shown_inline(token: Token) -> str:
    return "".join(child.content for child in token.children or [] if child.type in ("text", "text_special")).strip()


@settings(deadline=None)
@given(hostile_text())
def test_a_code_block_ends_where_it_should(text: str) -> None:
    tokens = PARSER.parse(f"<details>\n<summary>Recipe</summary>\n\n{fenced(text, 'toml')}\n\n</details>\n\n# After\n")
    assert [token.type for token in tokens] == [
        "html_block",
        "fence",
        "html_block",
        "heading_open",
        "inline",
        "heading_close",
    ]


@settings(deadline=None)
@given(hostile_text())
def test_a_code_span_outside_a_table_is_one_code_span(text: str) -> None:
    children = [token for token in _flat(f"x {code(text)} y") if token.type == "code_inline"]
    assert len(children) == (1 if one_line(text) else 0)


@settings(deadline=None)
@given(hostile_text(), hostile_text())
def test_a_link_goes_to_the_web_or_nowhere(text: str, url: str) -> None:
    links = [token.attrGet("href") for token in _flat(f"x {link(text, url)}") if token.type == "link_open"]
    assert all(re.match(r"https?://", str(href)) for href in links)
    assert len(links) == (1 if web_url(url) else 0)


@pytest.mark.parametrize(
    ("url", "taken"),
    [
        ("https://example.org/a b", "https://example.org/ab"),
        ("https://example.org/<x>|y", "https://example.org/%3Cx%3E%7Cy"),
        ("javascript:alert(1)", None),
        ("//example.org", None),
        ("http://", None),
        ("http://[", None),
        (None, None),
        ("data:text/html,<b>", None),
    ],
)
def test_web_urls(url: str | None, taken: str | None) -> None:
    assert web_url(url) == taken


def test_control_characters_and_direction_overrides_are_shown_as_replaced() -> None:
    assert one_line("a\x00b\u202ec\u2066d\n\te\u2028f") == "a\ufffdb\ufffdc\ufffdd e f"


def test_numbers_and_nothing() -> None:
    assert [markdown(value) for value in (1234567, 0.95, 1234.5, None, True, Safe("**x**"))] == [
        "1,234,567",
        "0.95",
        "1,234.5",
        "–",
        "yes",
        "**x**",
    ]


def test_an_excerpt_is_cut_at_a_word() -> None:
    assert excerpt("one two three four", 12) == "one two…"
    assert len(excerpt("x" * 500, 100)) == 100
    assert excerpt("short", 100) == "short"


def test_rows_past_the_sixtieth_are_counted() -> None:
    written = table(["n"], [[n] for n in range(100)])
    assert written.endswith("40 more rows stand in the fact.")
    assert written.count("\n| ") == 60


@pytest.mark.parametrize("text", HOSTILE)
def test_a_slug_is_what_the_hub_takes_as_a_name(text: str) -> None:
    assert re.fullmatch(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?", slug(text))
