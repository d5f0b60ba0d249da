"""A card's text from its template; every value passes ``markdown`` unless it is ``Safe``."""

from functools import cache
from importlib.resources import files
from typing import Any

from captionlake.cards.markdown import code, excerpt, fenced, file_size, link, markdown, plural, table
from captionlake.errors import require

_TOOLS = {
    "code": code,
    "excerpt": excerpt,
    "fenced": fenced,
    "link": link,
    "plural": plural,
    "size": file_size,
    "table": table,
}


def render(template: str, **context: Any) -> str:
    """``template``: a file of ``cards/templates``, which may include others. Raises where it names what ``context`` lacks."""
    text: str = _environment().get_template(template).render(_TOOLS | context)
    return text


@cache
def _environment() -> Any:
    jinja2: Any = require("jinja2", extra="cards")
    return jinja2.Environment(
        autoescape=False,  # Markdown is not HTML: finalize escapes for both
        finalize=markdown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        loader=jinja2.FunctionLoader(_source),
    )


def _source(name: str) -> str:
    return files("captionlake.cards").joinpath("templates", *name.split("/")).read_text(encoding="utf-8")
