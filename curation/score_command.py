"""``captionlake score``."""

from dataclasses import asdict
from pathlib import Path

import click

from captionlake.curation.embed_command import embed_config
from captionlake.lake.options import emit, json_option, lake_option, printable


@click.command()
@click.option("--model", required=True, metavar="NAME", help="The open_clip model that embedded the pictures.")
@click.option(
    "--pretrained", required=True, metavar="TAG|DIR", help="One of open_clip's tags for it, or a local folder."
)
@click.option(
    "--device", default="auto", show_default=True, help="torch's name of a device; auto takes the GPU if any."
)
@lake_option
@json_option
def score(model: str, pretrained: str, device: str, lake: Path, as_json: bool) -> None:
    """Give each caption its CLIPScore by this model, where it has none yet (table caption_scores)."""
    from captionlake.curation.clipscore import score as run
    from captionlake.curation.text_model import load_text_model
    from captionlake.lake import Lake

    loaded = load_text_model(embed_config(model=model, pretrained=pretrained, device=device))
    with Lake.open(lake) as opened:
        counts = run(opened, loaded)
    text = (
        f"{counts.scored:,} captions scored by {printable(counts.model_id)}, {counts.truncated:,} of them cut at the "
        f"model's context; {counts.present:,} of {counts.captions:,} had a score before"
    )
    if counts.without_vector:
        text += f"; {counts.without_vector:,} are of pictures without a vector: run  captionlake embed"
    emit(as_json, asdict(counts), text)
