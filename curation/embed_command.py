"""``captionlake embed``."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from captionlake.curation.model_options import device_option, embed_config, precision_option
from captionlake.lake.options import emit, engine_options, json_option, lake_option, printable

if TYPE_CHECKING:
    from captionlake.curation.embed_plan import EmbedPlan


@click.command()
@click.option(
    "--model", required=True, metavar="NAME", help="Any open_clip model, or the name for the model in a folder."
)
@click.option(
    "--pretrained", required=True, metavar="TAG|DIR", help="One of open_clip's tags for it, or a local folder."
)
@click.option(
    "--library",
    type=click.Choice(["open_clip", "transformers"]),
    default="open_clip",
    show_default=True,
    help="Whose model it is; of transformers, --pretrained is a folder or a name on the Hub.",
)
@click.option("--batch-size", type=click.IntRange(1, 4096), help="Pictures at a time (default: 8, on a GPU 256).")
@click.option("--threads", type=click.IntRange(1, 256), help="Threads that decode pictures (default: one a core).")
@device_option
@precision_option
@click.option("--plan", is_flag=True, help="Say how many pictures, hours and bytes it would take, and write nothing.")
@engine_options()
@lake_option
@json_option
def embed(lake: Path, as_json: bool, plan: bool, engine: str, ray_address: str | None, **options: Any) -> None:
    """Embed each picture that has no vector by this model yet."""
    from captionlake.curation.embedding import embed as run_embed
    from captionlake.lake import Lake
    from captionlake.lake.engines import engine_of

    config = embed_config(**options)
    if plan:
        from captionlake.curation.embed_plan import plan_embedding

        with Lake.open(lake) as opened:
            planned = plan_embedding(opened, config)
        emit(as_json, asdict(planned), _plan_said(planned))
        return
    with Lake.open(lake) as opened, engine_of(engine, ray_address) as chosen:
        counts = run_embed(opened, config, engine=chosen)
    text = (
        f"{counts.embedded:,} pictures embedded by {printable(counts.model_id)}; "
        f"{counts.present:,} of {counts.images:,} had a vector before"
    )
    emit(as_json, asdict(counts), text)


def _plan_said(plan: "EmbedPlan") -> str:
    said = f"{plan.pending:,} of {plan.images:,} pictures have no vector by {printable(plan.model_id)}"
    if not plan.pending:
        return said
    rate = f"{plan.rate:,.1f} pictures/s ({plan.rate_from})"
    return f"{said}\nabout {plan.hours:,.2f} hours at {rate}, {plan.vector_bytes / 2**20:,.1f} MiB of vectors"
