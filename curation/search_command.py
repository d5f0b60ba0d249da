"""``captionlake search``."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from captionlake.curation.model_options import model_config, model_options
from captionlake.errors import CaptionlakeError
from captionlake.lake.options import emit, json_option, lake_option, table

if TYPE_CHECKING:
    from captionlake.curation.search import Hit
    from captionlake.lake import Lake

_SHOWN_TEXT = 80  # characters of a caption in the table


@click.command()
@click.argument("text", required=False)
@click.option("--clip", is_flag=True, help="Find pictures by CLIP, not captions by their words.")
@click.option("--like", metavar="FILE|ID|SOURCE:KEY", help="Find pictures like this one, by CLIP.")
@model_options("The open_clip model of the lake's embeddings; for --clip, and for a new FILE.")
@click.option("--model-id", metavar="ID", help="Whose embeddings, with --like (default: the lake's only model).")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many to show.")
@click.option("--release", metavar="NAME@VERSION", help="Search in a release alone.")
@click.option("--where", metavar="SQL", help="Search among pictures for which this condition over images is true.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write an HTML page of the pictures found.",
)
@lake_option
@json_option
def search(text: str | None, lake: Path, as_json: bool, output: Path | None, **options: Any) -> None:
    """Search captions for all words of TEXT, or pictures by CLIP: for a TEXT with --clip, or --like a picture."""
    from captionlake.curation.search_page import write_page
    from captionlake.lake import Lake

    asked = _asked(text, options)
    with Lake.open(lake) as opened:
        hits, said = _found(opened, text, options)
        if output is not None:
            write_page(opened, hits, asked, said, output)
    data = {"query": asked, "said": said, "hits": [asdict(hit) for hit in hits]}
    if output is not None:
        emit(as_json, data | {"page": str(output)}, f"{said}: open {output}")
    else:
        emit(as_json, data, f"{_table(hits)}\n{said}" if hits else said)


def _asked(text: str | None, options: dict[str, Any]) -> str:
    """What is searched for; raises where that is not one thing."""
    if (text is None) == (options["like"] is None):
        raise click.UsageError("give a TEXT, or --like FILE, and not both")
    if text is not None and not options["clip"] and (options["model"] or options["pretrained"] or options["model_id"]):
        raise click.UsageError("captions are searched without a model: add --clip to search pictures")
    return text if text is not None else f"like {options['like']}"


def _found(lake: "Lake", text: str | None, options: dict[str, Any]) -> tuple[list["Hit"], str]:
    """The hits, and in words how they were found."""
    from captionlake.curation.search import Scope, search_clip, search_like, search_text

    scope, limit = Scope(release=options["release"], where=options["where"]), options["limit"]
    config = model_config(**{name: options[name] for name in ("model", "pretrained", "device", "precision")})
    if text is None:
        from captionlake.curation.model import load_model

        model = load_model(config) if config else None
        hits = search_like(lake, options["like"], model=model, model_id=options["model_id"], limit=limit, scope=scope)
        return hits, f"{len(hits):,} pictures by cosine"
    if options["clip"]:
        from captionlake.curation.text_model import load_text_model

        if config is None:
            raise CaptionlakeError(
                "a text's vector needs the model: give the --model and --pretrained of  captionlake embed"
            )
        hits = search_clip(lake, text, load_text_model(config), limit=limit, scope=scope)
        return hits, f"{len(hits):,} pictures by cosine"
    hits = search_text(lake, text, limit=limit, scope=scope)
    return hits, f"{len(hits):,} captions by BM25"


def _table(hits: list["Hit"]) -> str:
    rows: list[list[object]] = [
        [hit.rank, f"{hit.score:.4f}", f"{hit.source}:{hit.source_key}", _short(hit.text or "")] for hit in hits
    ]
    return table(["rank", "score", "picture", "caption"], rows)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN_TEXT else f"{line[: _SHOWN_TEXT - 1]}…"
