"""``captionlake decontaminate``."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from captionlake.curation.model_options import model_config, model_options
from captionlake.errors import CaptionlakeError
from captionlake.lake.options import emit, json_option, lake_option, printable, table

if TYPE_CHECKING:
    from captionlake.curation.decontamination import Contamination


@click.command()
@click.option(
    "--against",
    multiple=True,
    required=True,
    metavar="PATH",
    help="A folder of pictures, or a benchmark's own files (MME, MMBench, SEED-Bench, MM-Vet, LLaVA-Bench); repeatable.",
)
@click.option("--benchmark", metavar="NAME", help="What to call the benchmark (default: told by its files).")
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.95,
    show_default=True,
    help="Cosine from which a picture counts as the benchmark's.",
)
@click.option(
    "--phash-distance",
    type=click.IntRange(0, 16),
    default=4,
    show_default=True,
    help="Bits of 64 by which perceptual hashes may differ.",
)
@model_options("The open_clip model of the lake's embeddings; without it, no CLIP.")
@lake_option
@json_option
def decontaminate(lake: Path, as_json: bool, **options: Any) -> None:
    """Find the lake's pictures that are a benchmark's: by bytes, by perceptual hash, and by CLIP. Releases leave them out."""
    from pydantic import ValidationError

    from captionlake.curation.decontamination import DecontaminateConfig
    from captionlake.curation.decontamination import decontaminate as run
    from captionlake.curation.model import load_model
    from captionlake.lake import Lake

    asked = {name: options.pop(name) for name in ("model", "pretrained", "device", "precision")}
    try:
        config = DecontaminateConfig(**options)
    except ValidationError as error:
        said = "; ".join(problem["msg"].removeprefix("Value error, ") for problem in error.errors())
        raise CaptionlakeError(f"decontaminate: {said}: see  captionlake decontaminate --help") from error
    chosen = model_config(**asked)
    loaded = None if chosen is None else load_model(chosen)
    with Lake.open(lake) as opened:
        found = run(opened, config, model=loaded)
    data = {"threshold": config.threshold, "phash_distance": config.phash_distance}
    emit(as_json, {**data, "benchmarks": [asdict(one) for one in found]}, _text(found))


def _text(found: "list[Contamination]") -> str:
    headers = [
        "benchmark",
        "items",
        "pictures",
        "unread",
        "in the lake",
        "same bytes",
        "phash",
        "CLIP",
        "lake pictures",
    ]
    rows: list[list[object]] = [
        [
            one.benchmark,
            one.items,
            one.pictures,
            sum(one.unread.values()),
            one.found,
            one.by_bytes,
            one.by_phash,
            "not asked" if one.by_clip is None else one.by_clip,
            one.images,
        ]
        for one in found
    ]
    parts = [table(headers, rows)]
    per: list[list[object]] = [[one.benchmark, name, count] for one in found for name, count in one.collections.items()]
    if per:
        parts.append(table(["benchmark", "collection", "lake pictures"], per))
    for one in found:
        for reason, count in one.unread.items():
            shown = [f"{item} ({detail})" for item, why, detail in one.examples if why == reason][:3]
            parts.append(f"{printable(one.benchmark)}: {count:,} unread, {reason}: {printable('; '.join(shown))}")
    parts += [f"{printable(one.benchmark)}: {printable(note)}" for one in found for note in one.notes]
    return "\n\n".join(parts)
