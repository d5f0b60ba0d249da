"""``dedupe --explain``: what the lake knows of one picture's duplicates, and what each release did with it."""

from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from captionlake.curation.group_rows import group_mates
from captionlake.curation.preview import PicturePage, figure
from captionlake.curation.selection import EARLIER, SHORTER
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake

_MOST = 100  # pairs on a page


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """Another picture that is similar: ``method`` is one of ``similar_pairs`` (see docs/deduplication.md); ``rows`` are its keys."""

    image_id: str
    similarity: float
    method: str
    model_id: str | None
    rows: list[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What a release did with one row of the picture, in words; ``keeper`` is the key whose picture stayed in its place."""

    release: str
    row: str
    kept: bool
    rule: str
    keeper: str | None
    similarity: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """One picture: its rows, the pictures like it (the most similar first), and what releases decided."""

    image_id: str
    rows: list[str]
    pairs: list[Pair]
    verdicts: list[Verdict]


def explain(lake: Lake, picture: str) -> Explanation:
    """``picture``: an image_id, its beginning if no other begins so, or SOURCE:KEY."""
    image_id = find_picture(lake, picture)
    rows = _keys(lake, [image_id])[image_id]
    query = files("captionlake.curation").joinpath("sql/explain_pairs.sql").read_text()
    found = lake.rows(f"{query} ORDER BY similarity DESC, image_id", [image_id])
    twins = [image_id, *(other for other, _, method, _ in found if method == "same_vector")]
    listed = {other for other, *_ in found}
    mates = [mate for mate in group_mates(lake, image_id, twins) if mate[0] not in listed]
    found = sorted([*found, *mates], key=lambda pair: (-pair[1], pair[0]))
    keys = _keys(lake, [row[0] for row in found])
    pairs = [
        Pair(image_id=other, similarity=similarity, method=method, model_id=model_id, rows=keys.get(other, []))
        for other, similarity, method, model_id in found
    ]
    return Explanation(image_id=image_id, rows=rows, pairs=pairs, verdicts=_verdicts(lake, image_id))


def find_picture(lake: Lake, picture: str) -> str:
    """The image_id that is meant. Raises where none or several are."""
    if ":" in picture:
        source, _, key = picture.partition(":")
        found = lake.rows("SELECT image_id FROM images WHERE source = ? AND source_key = ?", [source, key])
    else:
        found = lake.rows("SELECT DISTINCT image_id FROM images WHERE starts_with(image_id, ?) LIMIT 2", [picture])
    if len(found) != 1:
        why = "several pictures begin with" if found else "no picture is"
        raise CaptionlakeError(f"{why} {picture}: give its image_id, or SOURCE:KEY as  captionlake sql  shows them")
    return str(found[0][0])


def _keys(lake: Lake, image_ids: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    query = (
        "SELECT image_id, source || ':' || source_key FROM images WHERE image_id IN (SELECT unnest(?::VARCHAR[])) "
        "ORDER BY source, source_key"
    )
    for image_id, key in lake.rows(query, [image_ids]):
        found.setdefault(image_id, []).append(key)
    return found


def _verdicts(lake: Lake, image_id: str) -> list[Verdict]:
    query = files("captionlake.curation").joinpath("sql/explain_releases.sql").read_text()
    return [
        Verdict(
            release=release, row=row, kept=reason is None, rule=_rule(reason, detail), keeper=keeper, similarity=cosine
        )
        for release, row, reason, detail, keeper, cosine in lake.rows(query, [image_id])
    ]


def _rule(reason: str | None, detail: str | None) -> str:
    if reason is None:
        return "in the release"
    if reason != "duplicate":
        return f"{reason}: {detail or ''}".rstrip(": ")
    if detail and detail.endswith(EARLIER):
        return f"duplicate ({detail}): the other is of a release that the recipe includes, and was itself kept"
    rank = "the shorter quota, keep_order" if detail and detail.endswith(SHORTER) else "keep_order"
    return f"duplicate ({detail}): the other ranks first by {rank}, then pixels, then image_id, and was itself kept"


def explanation_lines(found: Explanation) -> str:
    """For a terminal."""
    lines = [
        f"picture {found.image_id}",
        *(f"  row {row}" for row in found.rows),
        f"{len(found.pairs)} pictures like it",
    ]
    lines += [
        f"  {pair.similarity:.6f} {pair.method} {pair.image_id} {', '.join(pair.rows)}" for pair in found.pairs[:_MOST]
    ]
    for verdict in found.verdicts:
        where = f"  kept instead: {verdict.keeper} at {verdict.similarity:.6f}" if verdict.keeper else ""
        lines += [f"{verdict.release}: {verdict.row}: {verdict.rule}", *([where] if where else [])]
    return "\n".join(lines if found.verdicts else [*lines, "no release has looked at it yet"])


def write_page(lake: Lake, found: Explanation, path: Path) -> None:
    """The picture beside each one like it, as one HTML file. All text in it is escaped."""
    shown = found.pairs[:_MOST]
    pictures = PicturePage(lake, [found.image_id, *(pair.image_id for pair in shown)])
    articles = [
        f'<article aria-label="A pair of similarity {pair.similarity:.4f}"><p class="cosine">{pair.similarity:.4f}</p>'
        f"{figure(pictures[found.image_id], 'this picture')}{figure(pictures[pair.image_id], escape(pair.method))}</article>"
        for pair in shown
        if pair.image_id in pictures
    ]
    verdicts = [
        f"<li><b>{escape(v.release)}</b> {escape(v.row)}: {escape(v.rule)}"
        + (f"; kept instead: {escape(v.keeper)} at {v.similarity:.6f}" if v.keeper and v.similarity is not None else "")
        for v in found.verdicts
    ]
    template = Template(files("captionlake.curation").joinpath("templates/explain.html").read_text())
    page = template.substitute(
        picture=escape(found.image_id),
        style=files("captionlake.curation").joinpath("templates/pairs.css").read_text(),
        rows=escape(", ".join(found.rows)),
        verdicts="\n".join(verdicts) or "<li>No release has looked at it yet.",
        alone=figure(pictures[found.image_id], "this picture") if not articles else "",
        pairs="\n".join(articles) or '<p class="none">No picture is like it.</p>',
    )
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise CaptionlakeError(f"{path} cannot be written ({error.strerror}): choose another file") from error
