"""``captionlake score``."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from captionlake.curation.model_options import embed_config, model_options
from captionlake.lake.options import emit, json_option, lake_option, printable


@click.command()
@model_options("The open_clip model that embedded the pictures.", required=True)
@lake_option
@json_option
def score(lake: Path, as_json: bool, **options: Any) -> None:
    """Give each caption its CLIPScore by this model, where it has none yet (table caption_scores)."""
    from captionlake.curation.clipscore import score as run
    from captionlake.curation.text_model import load_text_model
    from captionlake.lake import Lake

    loaded = load_text_model(embed_config(**options))
    with Lake.open(lake) as opened:
        counts = run(opened, loaded)
    text = (
        f"{counts.scored:,} captions scored by {printable(counts.model_id)}, {counts.truncated:,} of them cut at the "
        f"model's context; {counts.present:,} of {counts.captions:,} had a score before"
    )
    if counts.without_vector:
        text += f"; {counts.without_vector:,} are of pictures without a vector: run  captionlake embed"
    emit(as_json, asdict(counts), text)
