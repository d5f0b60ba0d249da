"""``captionlake flag``."""

import json
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from captionlake.errors import CaptionlakeError
from captionlake.lake.options import emit, json_option, lake_option, printable, table

if TYPE_CHECKING:
    from captionlake.curation.flags import Chair
    from captionlake.lake import Lake

# Beside the enum, which a command's help need not load pydantic for; a test holds them together.
NAMES = (
    "refusal",
    "hedging",
    "repetition",
    "cut_off",
    "leaked_prompt",
    "wrong_language",
    "too_short",
    "personal_data",
    "clipscore_outlier",
    "contradicts_source",
    "omits_source",
)


@click.command()
@click.option("--producer", metavar="P", help="Only captions by this producer (default: all).")
@click.option("--only", multiple=True, type=click.Choice(NAMES), help="Look for this flag alone; repeatable.")
@click.option("--language", default="en", show_default=True, metavar="CODE", help="The language wanted (ISO 639-1).")
@click.option(
    "--prompts",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A JSON object of prompts' texts by their prompt_sha256, for leaked_prompt.",
)
@click.option(
    "--processes",
    type=click.IntRange(1, 256),
    help="How many processes check (default: one a core, where captions are many).",
)
@click.option(
    "--review",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write an HTML page of the worst captions with their pictures.",
)
@click.option("--most", type=click.IntRange(1, 10_000), default=100, show_default=True, help="How many the page shows.")
@lake_option
@json_option
def flag(lake: Path, as_json: bool, producer: str | None, review: Path | None, most: int, **options: Any) -> None:
    """Check captions that were not checked yet, and keep what is found in the table caption_flags."""
    from pydantic import ValidationError

    from captionlake.curation.flags import FlagConfig, chair, flag_captions
    from captionlake.curation.flags.checking import SOURCE_FLAGS
    from captionlake.curation.flags.review_page import write_review
    from captionlake.lake import Lake

    chosen = {"flags": options["only"]} if options["only"] else {}
    try:
        config = FlagConfig(language=options["language"], **chosen)
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors())
        raise CaptionlakeError(f"flag: {said}: see  captionlake flag --help") from error
    prompts, processes = _prompts(options["prompts"]), options["processes"]
    with Lake.open(lake) as opened:
        counts = flag_captions(opened, config, producer=producer, prompts=prompts, processes=processes)
        asked = not set(SOURCE_FLAGS).isdisjoint(config.flags)
        figures = chair(opened, producer=producer, processes=processes) if asked else []
        by = _by_flag(opened, producer)
        page = write_review(opened, config, review, most=most, producer=producer, prompts=prompts) if review else None
    parts = [f"{counts.checked:,} of {counts.captions:,} captions checked, the others were before"]
    parts += [table(["producer", "collection", "flag", "captions"], [list(row) for row in by])] if by else ["no flags"]
    if figures:
        parts.append(_chair_table(figures))
    if page is not None:
        parts.append(f"the {page.shown:,} worst of {page.flagged:,} flagged captions: open {printable(page.path)}")
    data = asdict(counts) | {
        "flags": [dict(zip(("producer", "collection", "flag", "captions"), row, strict=True)) for row in by],
        "chair": [_figures(one) for one in figures],
        "page": None if page is None else str(page.path),
    }
    emit(as_json, data, "\n\n".join(parts))


def _prompts(path: Path | None) -> dict[str, str]:
    if path is None:
        return {}
    try:
        known = json.loads(path.read_bytes())
    except ValueError as error:
        raise CaptionlakeError(f"{path} is not JSON ({error}): give an object of texts by prompt_sha256") from error
    if not isinstance(known, dict) or not all(isinstance(text, str) for text in known.values()):
        raise CaptionlakeError(f"{path} is not an object of texts: give texts by prompt_sha256")
    return known


def _by_flag(lake: "Lake", producer: str | None) -> list[tuple[Any, ...]]:
    from captionlake.lake.catalog import quote

    query = files("captionlake.curation").joinpath("sql/flag_counts.sql").read_text()
    whose = "true" if producer is None else f"made.producer = {quote(producer)}"
    return lake.rows(query.replace("$of_producer", whose))


def _figures(one: "Chair") -> dict[str, object]:
    shares = ("chair_i", "chair_s", "object_recall", "text_recall")
    return asdict(one) | {name: getattr(one, name) for name in shares}


def _chair_table(figures: "list[Chair]") -> str:
    headers = ["producer", "collection", "captions", "CHAIR_i", "CHAIR_s", "object recall", "text recall"]
    return table(
        headers,
        [
            [
                one.producer,
                one.collection,
                one.captions,
                *(_percent(share) for share in (one.chair_i, one.chair_s, one.object_recall, one.text_recall)),
            ]
            for one in figures
        ],
    )


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.1%}"
