"""``captionlake embed`` and ``captionlake dedupe``."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from captionlake.errors import CaptionlakeError
from captionlake.lake.options import emit, json_option, lake_option, printable

if TYPE_CHECKING:
    from captionlake.lake import Lake

_THRESHOLD = 0.95


@click.command()
@click.option(
    "--model", required=True, metavar="NAME", help="Any open_clip model, or the name for the model in a folder."
)
@click.option(
    "--pretrained", required=True, metavar="TAG|DIR", help="One of open_clip's tags for it, or a local folder."
)
@click.option("--batch-size", type=click.IntRange(1, 4096), help="Pictures at a time (default: 8, on a GPU 64).")
@click.option("--threads", type=click.IntRange(1, 256), help="Threads that decode pictures (default: one a core).")
@click.option(
    "--device", default="auto", show_default=True, help="torch's name of a device; auto takes the GPU if any."
)
@lake_option
@json_option
def embed(
    model: str, pretrained: str, batch_size: int | None, threads: int | None, device: str, lake: Path, as_json: bool
) -> None:
    """Embed each picture that has no vector by this open_clip model yet."""
    from pydantic import ValidationError

    from captionlake.curation.embedding import EmbedConfig
    from captionlake.curation.embedding import embed as run_embed
    from captionlake.lake import Lake

    try:
        config = EmbedConfig(model=model, pretrained=pretrained, batch_size=batch_size, threads=threads, device=device)
    except ValidationError as error:
        raise CaptionlakeError(
            "; ".join(f"--{problem['loc'][0]}: {problem['msg']}" for problem in error.errors())
        ) from error
    with Lake.open(lake) as opened:
        counts = run_embed(opened, config)
    text = (
        f"{counts.embedded:,} pictures embedded by {printable(counts.model_id)}; "
        f"{counts.present:,} of {counts.images:,} had a vector before"
    )
    emit(as_json, asdict(counts), text)


@click.command()
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True),
    default=_THRESHOLD,
    show_default=True,
    help="Cosine from which two pictures count as the same.",
)
@click.option("--model-id", metavar="ID", help="Whose embeddings (default: the lake's only model).")
@click.option(
    "--preview",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write an HTML page of pairs by cosine to choose a threshold by; nothing is stored.",
)
@lake_option
@json_option
def dedupe(threshold: float, model_id: str | None, preview: Path | None, lake: Path, as_json: bool) -> None:
    """Store all pairs of similar pictures, or look at pairs around a threshold. A release decides which to drop."""
    from captionlake.lake import Lake

    with Lake.open(lake) as opened:
        chosen = known_model(opened, model_id)
        if preview is not None:
            data, text = _preview(opened, chosen, threshold, preview)
        else:
            data, text = _find(opened, chosen, threshold)
    emit(as_json, data, text)


def _preview(lake: "Lake", model_id: str, threshold: float, path: Path) -> tuple[dict[str, object], str]:
    from captionlake.curation.preview import write_preview

    counts = write_preview(lake, model_id, threshold, path)
    text = (
        f"{counts.shown:,} of {counts.pairs:,} pairs shown ({counts.at_threshold:,} at or above {threshold:g}), "
        f"{counts.compared:,} of {counts.images:,} pictures compared with all: open {path}"
    )
    return asdict(counts), text


def _find(lake: "Lake", model_id: str, threshold: float) -> tuple[dict[str, object], str]:
    from captionlake.curation.similarity import find_pairs

    counts = find_pairs(lake, model_id, threshold)
    done = "found before" if counts.skipped else f"{counts.new:,} of them new"
    text = (
        f"{counts.pairs:,} pairs of cosine {threshold:g} or more among {counts.images:,} pictures, {done} "
        f"({printable(model_id)})"
    )
    return asdict(counts), text


def known_model(lake: "Lake", model_id: str | None) -> str:
    """The model named, or the only one that the lake has embeddings of."""
    from difflib import get_close_matches

    known = dict(lake.rows("SELECT model_id, count(*) FROM embeddings GROUP BY model_id ORDER BY model_id"))
    if not known:
        raise CaptionlakeError(f"no picture of {lake.path} is embedded: run  captionlake embed  first")
    if model_id is None and len(known) > 1:
        listed = ", ".join(f"{name} of {count:,} pictures" for name, count in known.items())
        raise CaptionlakeError(f"the lake has embeddings of several models ({listed}): name one with --model-id")
    if model_id is None:
        return str(next(iter(known)))
    if model_id not in known:
        near = get_close_matches(model_id, known, n=3, cutoff=0.3) or list(known)
        raise CaptionlakeError(f"no picture is embedded by {printable(model_id)}: known are {', '.join(near)}")
    return model_id


commands: list[click.Command] = [embed, dedupe]
