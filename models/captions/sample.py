"""``caption --sample``: some captions of each kind beside their pictures and prompts, before the rest is paid for."""

from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import pyarrow as pa

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.thumbnails import thumbnail
from captionlake.models.captions.acceptance import accepted
from captionlake.models.captions.captioner import Captioner, Done
from captionlake.models.captions.pending import dictionaries
from captionlake.models.captions.table import rows_to_caption

_TOLD = "text, input_tokens, output_tokens, cost_usd, finish_reason, chars"


@dataclass(frozen=True, slots=True)
class Sampled:
    """One row: what was asked and what came. ``text`` and what follows are None where no caption came."""

    row: str
    collection: str
    subset: str | None
    image_id: str
    prompt_id: str
    prompt: str
    text: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    finish_reason: str | None = None
    chars: int | None = None


def sample(lake: Lake, items: pa.Table, n: int, captioner: Captioner) -> tuple[list[Sampled], Done]:
    """Caption ``n`` of ``items`` (source, source_key, collection, subset), one of each collection and subset in turn.

    The captions are kept: the rest does not pay for them again.
    """
    with lake.registered(_items=items):
        query = files("captionlake.models").joinpath("sql/sample_rows.sql").read_text()
        chosen = lake.arrow(query, {"n": n})
    rows = rows_to_caption(lake, chosen)
    run = captioner.caption(lake, rows)
    found = accepted(lake, chosen, captioner, snapshot=lake.snapshot())
    texts = {(row["source"], row["source_key"]): row["caption_id"] for row in found.to_pylist()}
    by_key = {(row["source"], row["source_key"]): row for row in dictionaries(rows)}
    sampled = []
    for one in chosen.to_pylist():
        key = one["source"], one["source_key"]
        row, caption_id = by_key[key], texts[key]
        prompt = captioner.render(row)
        told: Any = (
            lake.rows(f"SELECT {_TOLD} FROM captions WHERE caption_id = ?", [caption_id])[0] if caption_id else ()
        )
        sampled.append(
            Sampled(
                ":".join(key), row["collection"], row["subset"], row["image_id"], prompt.prompt_id, prompt.text, *told
            )
        )
    return sampled, run


def write_sample(lake: Lake, sampled: list[Sampled], producer: str, said: str, rest: str, path: Path) -> None:
    """Pictures, captions and prompts as one HTML file. All text in it is escaped."""
    pictures = {image_id: thumbnail(data) for image_id, data in lake.pictures([one.image_id for one in sampled])}
    template = Template(files("captionlake.models").joinpath("templates/sample.html").read_text())
    articles = "\n".join(_article(one, pictures[one.image_id]) for one in sampled)
    page = template.substitute(producer=escape(producer), said=escape(said), rest=escape(rest), articles=articles)
    try:
        path.write_text(page, encoding="utf-8", errors="replace")
    except OSError as error:
        raise CaptionlakeError(f"{path} cannot be written ({error.strerror}): choose another file") from error


def _article(one: Sampled, picture: str) -> str:
    where = one.collection if one.subset is None else f"{one.collection} / {one.subset}"
    row = escape(one.row, quote=True)
    text = '<p class="caption none">No caption came.</p>'
    if one.text is not None:
        cost = "" if one.cost_usd is None else f", {one.cost_usd:.4f} US dollars"
        tokens = f"{one.input_tokens or 0:,} tokens in, {one.output_tokens or 0:,} out{cost}"
        told = f"{one.chars:,} characters, {tokens}; {escape(one.finish_reason or '')}"
        text = f'<p class="caption">{escape(one.text)}</p><p class="cost">{told}</p>'
    return (
        f'<article><img src="{picture}" alt="{row}" loading="lazy"><div><h2>{escape(where)} <small>{row}</small></h2>{text}'
        f"<details><summary>{escape(one.prompt_id)}</summary><pre>{escape(one.prompt)}</pre></details></div></article>"
    )
