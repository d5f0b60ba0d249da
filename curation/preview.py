"""``dedupe --preview``: one HTML file of pairs by cosine, side by side, to choose a threshold by.

All text in it is escaped.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from captionlake.curation.preview_sample import Band, Sample, sample_pairs
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.thumbnails import thumbnail

_SHOWN_KEY = 60  # characters


@dataclass(frozen=True, kw_only=True, slots=True)
class PreviewCounts:
    """``pairs`` found down to threshold - 0.1, ``at_threshold`` of them at or above it, ``shown`` with pictures."""

    path: Path
    model_id: str
    threshold: float
    images: int
    compared: int
    pairs: int
    at_threshold: int
    shown: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureShown:
    """A picture on a page."""

    source: str
    source_key: str
    collection: str
    width: int
    height: int
    rows: int
    thumbnail: str


def write_preview(lake: Lake, model_id: str, threshold: float, path: Path) -> PreviewCounts:
    """Write the page. Compares pictures anew down to threshold - 0.1 and stores nothing in the lake."""
    sample = sample_pairs(lake, model_id, threshold)
    ids = sorted({image_id for band in sample.bands for pair in band.pairs for image_id in pair[:2]})
    pictures = PicturePage(lake, ids)
    templates = files("captionlake.curation").joinpath("templates")
    template = Template(templates.joinpath("preview.html").read_text())
    same = lake.value("SELECT count(*) - count(DISTINCT image_id) FROM images")
    page = template.substitute(
        style=templates.joinpath("pairs.css").read_text(),
        threshold=f"{threshold:g}",
        model=escape(model_id),
        compared=escape(_compared(sample)),
        same=f"{same:,}",
        histogram=_histogram(sample),
        bands="\n".join(_band(band, sample, pictures) for band in sample.bands),
    )
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise CaptionlakeError(f"{path} cannot be written ({error.strerror}): choose another file") from error
    return PreviewCounts(
        path=path,
        model_id=model_id,
        threshold=threshold,
        images=sample.images,
        compared=sample.compared,
        pairs=sum(band.count for band in sample.bands),
        at_threshold=sum(band.count for band in sample.bands if band.low >= threshold),
        shown=sum(len(band.pairs) for band in sample.bands),
    )


def _compared(sample: Sample) -> str:
    if sample.compared == sample.images:
        return f"all {sample.images:,} embedded pictures, each with every other"
    return f"{sample.compared:,} pictures drawn from {sample.images:,}, each with all; counts are of these comparisons"


class PicturePage(dict[str, PictureShown]):
    """What a page says of each picture that it shows: a small copy, and its first row in order of the key."""

    def __init__(self, lake: Lake, image_ids: Iterable[str]) -> None:
        ids = list(dict.fromkeys(image_ids))
        thumbnails = {image_id: thumbnail(data) for image_id, data in lake.pictures(ids)}
        rows = lake.rows(
            "SELECT image_id, source, source_key, collection, width, height, count(*) OVER (PARTITION BY image_id) "
            "FROM images WHERE image_id IN (SELECT unnest(?::VARCHAR[])) "
            "QUALIFY row_number() OVER (PARTITION BY image_id ORDER BY source, source_key) = 1",
            [ids],
        )
        names = ("source", "source_key", "collection", "width", "height", "rows")
        for row in rows:
            told = dict(zip(names, row[1:], strict=True))
            self[row[0]] = PictureShown(**told, thumbnail=thumbnails[row[0]])


def _histogram(sample: Sample) -> str:
    """A row a band: a bar by the logarithm of its count, linked to its pairs."""
    longest = max((math.log1p(band.count) for band in sample.bands), default=1.0) or 1.0
    rows = []
    for band in sample.bands:
        width = 100 * math.log1p(band.count) / longest
        kind = "above" if band.low >= sample.threshold else "below"
        rows.append(
            f'<tr class="{kind}"><th scope="row"><a href="#{_anchor(band)}">{_range(band)}</a></th>'
            f'<td class="n">{band.count:,}</td>'
            f'<td class="bar"><span style="width:{width:.1f}%"></span></td>'
            f"<td>{'duplicates' if kind == 'above' else 'different'}</td></tr>"
        )
    return "\n".join(rows)


def _range(band: Band) -> str:
    return f"{band.low:g} to {band.high:g}"


def _anchor(band: Band) -> str:
    return f"band-{band.low:g}".replace(".", "-")


def _band(band: Band, sample: Sample, pictures: PicturePage) -> str:
    kind = "above" if band.low >= sample.threshold else "below"
    shown = f"{len(band.pairs)} of {band.count:,} shown" if band.count > len(band.pairs) else f"{band.count:,}"
    pairs = [(one, other, cosine) for one, other, cosine in band.pairs if one in pictures and other in pictures]
    body = "\n".join(_pair(pair, sample, pictures) for pair in pairs) or '<p class="none">No pair in this band.</p>'
    verdict = (
        f"at or above {sample.threshold:g}"
        if kind == "above"
        else f"below {sample.threshold:g}: neither drops the other"
    )
    return (
        f'<section class="{kind}" id="{_anchor(band)}"><h2>Cosine {_range(band)} '
        f'<small>{shown}, {verdict}</small></h2><div class="pairs">{body}</div></section>'
    )


def _pair(pair: tuple[str, str, float], sample: Sample, pictures: PicturePage) -> str:
    cosine = pair[2]
    figures = "".join(
        figure(pictures[image_id], _mark(image_id, pair, sample)) for image_id in _kept_first(pair, sample)
    )
    return f'<article aria-label="A pair of cosine {cosine:.4f}"><p class="cosine">{cosine:.4f}</p>{figures}</article>'


def _kept_first(pair: tuple[str, str, float], sample: Sample) -> Iterable[str]:
    return sorted(pair[:2], key=lambda image_id: (image_id in sample.dropped, image_id))


def _mark(image_id: str, pair: tuple[str, str, float], sample: Sample) -> str:
    """What happens to a picture of the pair; one may be dropped for a third picture that is not shown here."""
    if image_id not in sample.dropped:
        return "✓ kept"
    (other,) = set(pair[:2]) - {image_id}
    for_other = pair[2] >= sample.threshold and other not in sample.dropped
    return "✕ dropped" if for_other else "✕ dropped for a third picture"


def figure(picture: PictureShown, mark: str) -> str:
    """A picture with its mark and whose it is, as HTML; ``mark`` is HTML."""
    key = escape(
        picture.source_key if len(picture.source_key) <= _SHOWN_KEY else f"…{picture.source_key[-_SHOWN_KEY:]}"
    )
    more = f" and {picture.rows - 1} more of the same bytes" if picture.rows > 1 else ""
    title = escape(f"{picture.source} / {picture.source_key}", quote=True)
    return (
        f'<figure class="{"dropped" if "dropped" in mark else "kept"}">'
        f'<img src="{picture.thumbnail}" alt="{title}" loading="lazy">'
        f'<figcaption><span class="mark">{mark}</span> '
        f"<b>{escape(picture.collection)}</b> {picture.width} × {picture.height}"
        f'<span class="key" title="{title}">{escape(picture.source)} / {key}{more}</span></figcaption></figure>'
    )
