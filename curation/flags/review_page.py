"""``flag --review``: one HTML file of the worst captions beside their pictures, what was found marked in the text.

All text in it is escaped, and personal data is masked as in the flag's detail.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from string import Template
from typing import Any

import pyarrow as pa

from captionlake.curation.flags.checking import TEXT_FLAGS, check
from captionlake.curation.flags.config import FlagConfig
from captionlake.curation.flags.flag import Finding, Flag, Span
from captionlake.curation.flags.job import caption_of
from captionlake.curation.flags.personal_data import masked
from captionlake.curation.preview import PicturePage, figure
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.catalog import quote

# How bad a caption is with it: the first cannot be used at all, the last may be.
WEIGHTS: dict[Flag, float] = {
    Flag.REFUSAL: 10,
    Flag.REPETITION: 9,
    Flag.LEAKED_PROMPT: 8,
    Flag.WRONG_LANGUAGE: 7,
    Flag.PERSONAL_DATA: 6,
    Flag.CUT_OFF: 5,
    Flag.TOO_SHORT: 4,
    Flag.CLIPSCORE_OUTLIER: 3,
    Flag.CONTRADICTS_SOURCE: 2,
    Flag.HEDGING: 1.5,
    Flag.OMITS_SOURCE: 1,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ReviewCounts:
    """``shown`` of the ``flagged`` captions."""

    path: Path
    flagged: int
    shown: int


def write_review(
    lake: Lake,
    config: FlagConfig,
    path: Path,
    *,
    most: int = 100,
    producer: str | None = None,
    prompts: Mapping[str, str] | None = None,
) -> ReviewCounts:
    """Write the page of the ``most`` worst captions by the flags of ``config`` that are in the lake.

    Marks are made by checking the text again; a flag that this configuration would not give keeps its detail and has no mark.
    """
    rows, flagged = _worst(lake, config, most, producer, prompts or {})
    pictures = PicturePage(lake, [row["image_id"] for row in rows])
    template = Template(files("captionlake.curation").joinpath("templates/flags.html").read_text())
    said = f"The {len(rows):,} worst of {flagged:,} flagged captions{f' by {producer}' if producer else ''}"
    names = [str(flag) for flag in config.flags]
    counts = {name: sum(name in {flag["flag"] for flag in row["flags"]} for row in rows) for name in names}
    page = template.substitute(
        said=escape(said),
        flags=" ".join(
            f'<span class="flag {escape(n)}">{escape(n)} {count:,}</span>' for n, count in counts.items() if count
        ),
        captions="\n".join(_item(row, pictures, config) for row in rows) or "<p>No caption has a flag.</p>",
    )
    try:
        path.write_text(page, encoding="utf-8", errors="replace")
    except OSError as error:
        raise CaptionlakeError(f"{path} cannot be written ({error.strerror}): choose another file") from error
    return ReviewCounts(path=path, flagged=flagged, shown=len(rows))


def _worst(
    lake: Lake, config: FlagConfig, most: int, producer: str | None, prompts: Mapping[str, str]
) -> tuple[list[dict[str, Any]], int]:
    folder = files("captionlake.curation").joinpath("sql")
    whose = "true" if producer is None else f"made.producer = {quote(producer)}"
    query = folder.joinpath("worst_captions.sql").read_text().replace("$of_producer", whose)
    query = query.replace("($annotated)", f"({folder.joinpath('annotated_pictures.sql').read_text()})")
    names = [str(flag) for flag in config.flags]
    weights = pa.table({"flag": names, "weight": [WEIGHTS[flag] for flag in config.flags]})
    known = pa.table(
        {"prompt_sha256": pa.array(list(prompts), pa.string()), "text": pa.array(prompts.values(), pa.string())}
    )
    with lake.registered(_weights=weights, _prompts=known):
        rows: list[dict[str, Any]] = lake.arrow(query.replace("$most", f"{most:d}")).to_pylist()
    flagged = lake.value(
        "SELECT count(DISTINCT caption_id) FROM caption_flags JOIN captions made USING (caption_id) SEMI JOIN images USING (image_id) "
        f"WHERE {whose} AND flag IN (SELECT unnest(?::VARCHAR[]))",
        [names],
    )
    return rows, int(flagged)


def _item(row: dict[str, Any], pictures: PicturePage, config: FlagConfig) -> str:
    found = {str(finding.flag): finding for finding in check(caption_of(row), config, TEXT_FLAGS)}
    stored = {flag["flag"]: flag["detail"] or "" for flag in row["flags"]}
    mark = " ".join(f'<span class="flag {escape(name)}">{escape(name)}</span>' for name in stored)
    details = "".join(
        f'<li><span class="flag {escape(name)}">{escape(name)}</span> {escape(detail)}</li>'
        for name, detail in stored.items()
    )
    text = marked(row["text"], [found[name] for name in stored if name in found], found.get(Flag.PERSONAL_DATA))
    about = f"{escape(row['producer'])}, {row['words']:,} words, caption {escape(row['caption_id'])}"
    return (
        f'<article aria-label="A flagged caption">{figure(pictures[row["image_id"]], mark)}'
        f'<div><ul>{details}</ul><p class="text">{text}</p><p class="key">{about}</p></div></article>'
    )


def marked(text: str, findings: list[Finding], personal: Finding | None = None) -> str:
    """The text as HTML with what was found marked; ``personal``: whose spans are masked."""
    hidden = set(personal.spans) if personal else set()
    edges = sorted(
        {0, len(text), *(at for finding in findings for span in finding.spans for at in span if at <= len(text))}
    )
    edges = sorted({*edges, *(at for span in hidden for at in span)})
    parts: list[str] = []
    for start, end in pairwise(edges):
        over = next((span for span in hidden if span[0] <= start and end <= span[1]), None)
        if over is not None and start != over[0]:
            continue  # told as a whole at its beginning
        shown = text[start:end] if over is None else masked(text[slice(*over)])
        names = [str(finding.flag) for finding in findings if any(_holds(span, start, end) for span in finding.spans)]
        body = escape(shown)
        parts.append(f'<mark class="{names[0]}" title="{escape(", ".join(names))}">{body}</mark>' if names else body)
    return "".join(parts)


def _holds(span: Span, start: int, end: int) -> bool:
    return span[0] <= start and end <= span[1]
