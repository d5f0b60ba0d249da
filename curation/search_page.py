"""``search -o``: one HTML file of the pictures found. All text in it is escaped."""

from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from captionlake.curation.search import Hit
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.thumbnails import thumbnail

_SHOWN_TEXT = 400  # characters of a caption


def write_page(lake: Lake, hits: list[Hit], query: str, said: str, path: Path) -> None:
    """Write the page: what was searched for, and each hit with a thumbnail, in order."""
    pictures = {image_id: thumbnail(data) for image_id, data in lake.pictures([hit.image_id for hit in hits])}
    template = Template(files("captionlake.curation").joinpath("templates/search.html").read_text())
    page = template.substitute(
        query=escape(query), said=escape(said), hits="\n".join(_item(hit, pictures[hit.image_id]) for hit in hits)
    )
    try:
        path.write_text(page, encoding="utf-8", errors="replace")
    except OSError as error:
        raise CaptionlakeError(f"{path} cannot be written ({error.strerror}): choose another file") from error


def _item(hit: Hit, picture: str) -> str:
    name = escape(f"{hit.source} / {hit.source_key}", quote=True)
    text = hit.text or ""
    caption = escape(text if len(text) <= _SHOWN_TEXT else f"{text[:_SHOWN_TEXT]}…")
    return (
        f'<li><figure><img src="{picture}" alt="{name}" loading="lazy"><figcaption><span class="score">{hit.score:.4f}</span>'
        f"<b>{escape(hit.collection)}</b> {hit.width} × {hit.height}"
        f'<span class="key">{name}</span>{caption}</figcaption></figure></li>'
    )
