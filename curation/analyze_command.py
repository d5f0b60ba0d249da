"""``captionlake analyze``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from captionlake.lake.options import emit, json_option, lake_option

if TYPE_CHECKING:
    from captionlake.curation.analysis.analysis import Analysis


@click.command()
@click.argument("release", metavar="NAME@VERSION")
@click.option("--producer", "producers", multiple=True, metavar="P", help="Whose captions; repeat it (default: all).")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write the sunburst (PNG, SVG), all pairs (CSV, Parquet) and all figures with their queries (JSON) there.",
)
@click.option(
    "--share",
    type=click.FloatRange(0, 100, min_open=True),
    default=1.0,
    show_default=True,
    metavar="PERCENT",
    help="Show pairs from this share of a producer's pairs on.",
)
@click.option(
    "--most", type=click.IntRange(min=1), default=60, show_default=True, metavar="N", help="Show at most N of them."
)
@click.option("--parser", metavar="PACKAGE", help="A spaCy package (default: the English one that is installed).")
@click.option(
    "--processes", type=click.IntRange(min=1), metavar="N", help="That parse (default: one for each processor)."
)
@lake_option
@json_option
def analyze(
    release: str, producers: tuple[str, ...], output: Path | None, lake: Path, as_json: bool, **options: Any
) -> None:
    """What a release's captions are made of: root verbs with their nouns, parts of speech, lengths, vocabulary.

    Each caption is parsed once; its counts stay in the lake (table caption_words). The figure has a ring of verbs and one of their nouns,
    for one producer or for two side by side.
    """
    from captionlake.curation.analysis.analysis import analyze as run
    from captionlake.curation.analysis.analyze_config import AnalyzeConfig
    from captionlake.curation.analysis.output import check_output, write_output
    from captionlake.curation.analysis.report import report
    from captionlake.lake import Lake

    config = AnalyzeConfig(producers=producers, **options)
    if output is not None:
        check_output(output)
    with Lake.open(lake) as opened:
        found: Analysis = run(opened, release, config)
    data, text = found.data(), report(found)
    if output is not None:
        written = write_output(found, output)
        data |= {"files": [str(path) for path in written]}
        text += f"\n\nwritten to {output}: {', '.join(path.name for path in written)}"
    emit(as_json, data, text)
