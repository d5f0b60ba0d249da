"""Texts that try to break out of a card, and a strategy that makes more of them."""

from hypothesis import strategies as st

HOSTILE = [
    "</details><script>alert(1)</script>",
    "| x | y |\n|---|---|\n| 1 | 2 |",
    "---\nlicense: mit\n---",
    "```\n# A heading\n```",
    "[click](javascript:alert(1)) ![x](http://evil.example/x.png) <img src=x onerror=alert(1)>",
    "# heading\n\n## another\n\nSetext\n======",
    "- item\n1. item\n> quote\n\n    code",
    "&lt;b&gt; &#60;b&#62; \\<b> \\\\| `a` ``b`` *c* __d__ ~~e~~ $f$",
    "{{ 7 * 7 }} {% raw %} {# no #}",
    "http://evil.example www.evil.example someone@evil.example //evil.example evil.example",
    "\u202eright to left\u202c שלום مرحبا 👩‍👩‍👧‍👦 🏳️‍🌈 \x00\x07\x1b[31m\u2028\u0085",
    "a" * 3000,
    "<!-- --> --> <![CDATA[ <?php <!DOCTYPE x>",
]


def hostile_text() -> st.SearchStrategy[str]:
    """The texts above, any text at all, and short runs of what Markdown, YAML and HTML care for."""
    pieces = st.sampled_from(
        [*"\\`*_[]()|~#$<>&!-+=:;.@\"'{}%/ \n\t\r", "1.", "---", "```", "\n\n", "    ", "<b", "</", "www.", "&lt;"]
    )
    return st.one_of(st.sampled_from(HOSTILE), st.text(max_size=60), st.lists(pieces, max_size=20).map("".join))
