"""``captionlake dedupe``."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from captionlake.curation.known_model import known_model
from captionlake.lake.options import emit, engine_options, json_option, lake_option, printable

if TYPE_CHECKING:
    from captionlake.lake import Lake

_THRESHOLD = 0.95
_MOST_BITS = (
    12  # MOST_BITS of select_config.py, which a command's help need not load pydantic for; a test holds them together
)


@click.command()
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True),
    default=_THRESHOLD,
    show_default=True,
    help="Cosine from which two pictures count as the same.",
)
@click.option(
    "--phash-distance",
    type=click.IntRange(0, _MOST_BITS),
    metavar="BITS",
    help="Find pairs by perceptual hash instead, which may differ in so many of 64 bits: cheap, and needs no model.",
)
@click.option("--model-id", metavar="ID", help="Whose embeddings (default: the lake's only model).")
@click.option(
    "--preview",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write an HTML page of pairs by cosine to choose a threshold by; nothing is stored.",
)
@click.option(
    "--explain", metavar="IMAGE", help="What is like this picture (image_id or SOURCE:KEY), and what releases did."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="With --explain: an HTML page with the pictures side by side.",
)
@engine_options()
@lake_option
@json_option
def dedupe(
    threshold: float,
    phash_distance: int | None,
    model_id: str | None,
    preview: Path | None,
    explain: str | None,
    output: Path | None,
    lake: Path,
    as_json: bool,
    **where: str | None,
) -> None:
    """Store all pairs of similar pictures, or look at pairs around a threshold. A release decides which to drop."""
    from captionlake.lake import Lake

    if output is not None and explain is None:
        raise click.UsageError("-o belongs to --explain")
    if phash_distance is not None and (preview is not None or explain is not None or model_id is not None):
        raise click.UsageError("--phash-distance goes with none of --preview, --explain and --model-id")
    with Lake.open(lake) as opened:
        if explain is not None:
            data, text = _explain(opened, explain, output)
            emit(as_json, data, text)
            return
        if phash_distance is not None:
            data, text = _find_hashes(opened, phash_distance)
            emit(as_json, data, text)
            return
        chosen = known_model(opened, model_id)
        if preview is not None:
            data, text = _preview(opened, chosen, threshold, preview)
        else:
            data, text = _find(opened, chosen, threshold, where)
    emit(as_json, data, text)


def _explain(lake: "Lake", picture: str, output: Path | None) -> tuple[dict[str, object], str]:
    from captionlake.curation.explain import explain, explanation_lines, write_page

    found = explain(lake, picture)
    if output is not None:
        write_page(lake, found, output)
    text = "\n".join(printable(line) for line in explanation_lines(found).splitlines())
    return asdict(found), f"{text}\nside by side: {output}" if output is not None else text


def _preview(lake: "Lake", model_id: str, threshold: float, path: Path) -> tuple[dict[str, object], str]:
    from captionlake.curation.preview import write_preview

    counts = write_preview(lake, model_id, threshold, path)
    text = (
        f"{counts.shown:,} of {counts.pairs:,} pairs shown ({counts.at_threshold:,} at or above {threshold:g}), "
        f"{counts.compared:,} of {counts.images:,} pictures compared with all: open {path}"
    )
    return asdict(counts), text


def _find_hashes(lake: "Lake", distance: int) -> tuple[dict[str, object], str]:
    from captionlake.curation.hash_pairs import find_hash_pairs

    counts = find_hash_pairs(lake, distance)
    done = "found before" if counts.skipped else f"{counts.new:,} of them new"
    text = (
        f"{counts.pairs:,} pairs of perceptual hashes within {distance} bits among {counts.images:,} pictures, {done}"
    )
    return asdict(counts), text


def _find(lake: "Lake", model_id: str, threshold: float, where: dict[str, str | None]) -> tuple[dict[str, object], str]:
    from captionlake.curation.similarity import find_pairs
    from captionlake.lake.engines import engine_of

    with engine_of(where["engine"] or "local", where["ray_address"]) as engine:
        counts = find_pairs(lake, model_id, threshold, engine=engine)
    done = "found before" if counts.skipped else f"{counts.new:,} of them new"
    text = (
        f"{counts.pairs:,} pairs of cosine {threshold:g} or more among {counts.images:,} pictures, {done} "
        f"({printable(model_id)})"
    )
    return asdict(counts), text
