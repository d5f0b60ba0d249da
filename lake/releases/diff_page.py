"""``release diff --html``: one HTML file of a comparison, with a sample of pictures of each group. All text in it is escaped."""

from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from captionlake.errors import CaptionlakeError
from captionlake.lake.lake import Lake
from captionlake.lake.releases.diff import Diff, Outcome
from captionlake.lake.releases.release import Release
from captionlake.lake.thumbnails import thumbnail

SHOWN = 12  # rows of a group
_LONGEST = 400  # characters of a text
_TITLES = {
    Outcome.ADDED: "Added",
    Outcome.REMOVED: "Removed",
    Outcome.RECAPTIONED: "Captioned anew",
    Outcome.CHANGED: "Changed otherwise",
}
_ROWS = (
    "SELECT source, source_key, image_id, collection, reason, detail, a_position, b_position, a_split, b_split "
    "FROM release_diff WHERE outcome = ? ORDER BY md5(concat_ws(':', source, source_key, a_position, b_position)), "
    "a_position, b_position LIMIT ?"
)
_SAID = {
    "images": (
        "SELECT string_agg(c.text, E'\\n\\n' ORDER BY rc.ordinal) FROM release_captions rc JOIN captions c USING (caption_id) "
        "WHERE rc.name = ? AND rc.version = ? AND rc.position = ?"
    ),
    "sft": (
        "SELECT array_to_string([turn->>'value' FOR turn IN c.turns::JSON[]], E'\\n\\n') FROM release_items i "
        "JOIN conversations c USING (conversation_id) WHERE i.name = ? AND i.version = ? AND i.position = ?"
    ),
}


@dataclass(frozen=True, slots=True)
class _Shown:
    source: str | None
    source_key: str | None
    image_id: str | None
    collection: str
    reason: str | None
    detail: str | None
    a_position: int | None
    b_position: int | None
    a_split: str | None
    b_split: str | None


class DiffPage:
    """Writes the page; inside ``compared``, whose table it reads."""

    def __init__(self, lake: Lake, before: Release, after: Release, found: Diff) -> None:
        self._lake, self._before, self._after, self._found = lake, before, after, found

    def write(self, path: Path) -> None:
        """Put the page into a file, in the place of what is there."""
        template = Template(files("captionlake.lake.releases").joinpath("templates/diff.html").read_text())
        page = template.substitute(
            before=escape(self._found.before),
            after=escape(self._found.after),
            said=escape(summary(self._found)),
            tables=self._table(),
            groups="\n".join(self._group(outcome) for outcome in _TITLES),
        )
        try:
            path.write_text(page, encoding="utf-8", errors="replace")
        except OSError as error:
            raise CaptionlakeError(f"{path} cannot be written ({error.strerror}): choose another file") from error

    def _table(self) -> str:
        head = "".join(f"<th>{one}</th>" for one in ("collection", *Outcome))
        rows = [
            f"<tr><th>{escape(name)}</th>{''.join(f'<td>{n:,}</td>' for n in counts.values())}</tr>"
            for name, counts in self._found.collections.items()
        ]
        return f"<table><tr>{head}</tr>{''.join(rows)}</table>"

    def _group(self, outcome: Outcome) -> str:
        n = self._found.counts[outcome]
        if not n:
            return ""
        rows = [_Shown(*row) for row in self._lake.rows(_ROWS, [outcome, SHOWN])]
        some = f"{len(rows)} of {n:,}" if n > len(rows) else f"{n:,}"
        items = "\n".join(self._item(outcome, row) for row in rows)
        return f"<h2>{_TITLES[outcome]} <small>{some}</small></h2>\n<ol>\n{items}\n</ol>"

    def _item(self, outcome: Outcome, row: _Shown) -> str:
        name = (
            f"{row.source} / {row.source_key}" if row.source is not None else f"row {row.b_position or row.a_position}"
        )
        told = "".join(f"<p>{part}</p>" for part in self._told(outcome, row) if part)
        return (
            f"<li><figure>{self._picture(row, name)}<figcaption><b>{escape(row.collection)}</b>"
            f'<span class="key">{escape(name)}</span>{told}</figcaption></figure></li>'
        )

    def _told(self, outcome: Outcome, row: _Shown) -> list[str]:
        """HTML: why, and the texts before and after where they differ."""
        old = escape(self._text(self._before, row.a_position))
        new = escape(self._text(self._after, row.b_position))
        if outcome is Outcome.CHANGED:
            return [f"<del>{escape(row.a_split or '')}</del> to <ins>{escape(row.b_split or '')}</ins>", new]
        if outcome is Outcome.RECAPTIONED:
            return [f"<del>{old}</del>", f"<ins>{new}</ins>"]
        why = ": ".join(part for part in ((row.reason or "").replace("_", " "), row.detail) if part)
        return [escape(_cut(why)), old or new]

    def _text(self, release: Release, position: int | None) -> str:
        if position is None:
            return ""
        return _cut(self._lake.value(_SAID[release.kind], [release.name, release.version, position]) or "")

    def _picture(self, row: _Shown, name: str) -> str:
        if row.image_id is None:
            return '<div class="none">no picture</div>'
        try:
            shown = thumbnail(self._lake.picture(row.image_id))
        except CaptionlakeError:  # damaged, or taken down
            return '<div class="none">the picture is not in the lake</div>'
        return f'<img src="{shown}" alt="{escape(name, quote=True)}" loading="lazy">'


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def summary(found: Diff) -> str:
    """The counts in a line."""
    counts = found.counts
    parts = [f"{counts[one]:,} {one}" for one in Outcome if counts[one] or one is not Outcome.CHANGED]
    redacted = found.redacted_before, found.redacted_after
    if any(redacted):
        parts.append(f"{redacted[0]:,} and {redacted[1]:,} redacted")
    said = f"{found.items_before:,} rows before, {found.items_after:,} after: {', '.join(parts)}"
    if found.same_content:
        return f"{said}; the same content"
    if not any(redacted) and not any(n for one, n in counts.items() if one != Outcome.UNCHANGED):
        return f"{said}; the same rows in another order"
    return said
