"""Commands of the lake: init, sources, ingest, status, sql, release, export."""

from dataclasses import asdict
from pathlib import Path

import click

from captionlake.errors import CaptionlakeError
from captionlake.lake.options import emit, json_option, lake_option, table
from captionlake.lake.release_commands import release
from captionlake.lake.sql_command import sql


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@json_option
def init(folder: Path, as_json: bool) -> None:
    """Make a new lake in FOLDER."""
    from captionlake.lake import Lake

    with Lake.init(folder) as lake:
        emit(
            as_json,
            {"lake": str(lake.path)},
            f"a new lake in {lake.path}; next:  captionlake ingest SOURCE INPUT --lake {folder}",
        )


@click.command()
@json_option
def sources(as_json: bool) -> None:
    """The sources known, the files each takes, and what may be done with its pictures."""
    from captionlake.lake.sources import SOURCES

    known = [
        {
            "source": s.name,
            "collection": s.collection,
            "takes": s.takes,
            "license": s.license,
            "redistribute": s.redistribute,
        }
        for s in SOURCES.values()
    ]
    rows: list[list[object]] = [
        [s["source"], s["collection"], s["redistribute"], s["license"] or "as you state it", s["takes"]] for s in known
    ]
    emit(as_json, {"sources": known}, table(["source", "collection", "may pass on", "licence", "takes"], rows))


@click.command()
@click.argument("source")
@click.argument("inputs", nargs=-1, required=True)
@click.option("--archive", "archives", multiple=True, metavar="FILE", help="A zip or folder that holds the pictures.")
@click.option("--collection", help="Name of the collection, for quotas (default: the source's own).")
@click.option("--subset", help="Kind of the list within its collection, such as landmark or celebrity.")
@click.option("--limit", type=click.IntRange(min=1), help="Take the first rows alone.")
@click.option("--retry-failed", is_flag=True, help="Also try rows that failed before.")
@click.option("--allow-private-hosts", is_flag=True, help="Fetch from loopback and private addresses too.")
@click.option("--license", help="Licence of the pictures, where the files do not say it.")
@click.option(
    "--redistribute", type=click.Choice(["bytes", "urls", "none"]), help="What a release may carry of the pictures."
)
@lake_option
@json_option
def ingest(source: str, inputs: tuple[str, ...], lake: Path, as_json: bool, **options: object) -> None:
    """Bring the pictures of a SOURCE (see `captionlake sources`) into the lake.

    INPUTS are its files: annotation files, a list of URLs, or a folder. Run it again to go on after an interruption.
    """
    from pydantic import ValidationError

    from captionlake.lake import Lake
    from captionlake.lake.ingest import ingest as run
    from captionlake.lake.ingest_config import IngestConfig
    from captionlake.lake.ingest_report import ingest_line

    try:
        given = {"source": source, "inputs": list(inputs)} | options | {"archives": list(options["archives"])}  # type: ignore[call-overload]
        config = IngestConfig(**given)
    except ValidationError as error:
        raise CaptionlakeError(f"ingest: {error.errors()[0]['msg']}: see  captionlake ingest --help") from error
    with Lake.open(lake) as opened:
        counts = run(opened, config)
    emit(as_json, asdict(counts), ingest_line(asdict(counts)))


@click.command()
@click.option("--source", help="One source only.")
@lake_option
@json_option
def status(source: str | None, lake: Path, as_json: bool) -> None:
    """What the lake holds of each source, what is missing, and why."""
    from captionlake.lake import Lake
    from captionlake.lake.status import status as read

    with Lake.open(lake) as opened:
        found = read(opened, source)
    headers = ["source", "collection", "expected", "present", "failed", "embedded", "captioned", "failed by reason"]
    rows: list[list[object]] = [
        [
            s.source,
            s.collection,
            s.expected,
            s.present,
            s.failed,
            s.embedded,
            s.captioned,
            ", ".join(f"{reason} {count}" for reason, count in s.reasons.items()),
        ]
        for s in found
    ]
    empty = "the lake is empty; next:  captionlake ingest SOURCE INPUT"
    emit(as_json, {"sources": [asdict(s) for s in found]}, table(headers, rows) if rows else empty)


commands: list[click.Command] = [init, sources, ingest, status, sql, release]
