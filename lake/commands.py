"""Commands of the lake: init, sources, ingest, status, sql, release, conversations; and upgrade, backup, restore."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from captionlake.errors import CaptionlakeError
from captionlake.lake.backup_commands import commands as of_backups
from captionlake.lake.options import emit, engine_options, json_option, lake_option, table
from captionlake.lake.releases.commands import release
from captionlake.lake.sft.commands import conversations
from captionlake.lake.sql_command import sql

if TYPE_CHECKING:
    from pydantic import ValidationError

    from captionlake.lake.sources import Source


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--catalog",
    "catalog_url",
    metavar="URL",
    help="Keep the catalog in PostgreSQL, for writers on several machines: postgres://HOST/DATABASE, without user or password.",
)
@click.option("--data", metavar="s3://BUCKET/PREFIX", help="Where tables and pictures are to lie (default: in FOLDER).")
@json_option
def init(folder: Path, catalog_url: str | None, data: str | None, as_json: bool) -> None:
    """Make a new lake in FOLDER."""
    from captionlake.lake import Lake
    from captionlake.lake.place import catalog_of

    with Lake.init(folder, catalog_url, data) as lake:
        catalog = catalog_of(lake.path).name
        kept = f", its catalog in {catalog}" if catalog_url else ""
        told = {"lake": str(lake.path), "catalog": catalog}
        if lake.data_place.bucket is not None:
            told["data"] = lake.data_place.bucket.url
            kept += f", its tables and pictures in {told['data']}"
        emit(
            as_json,
            told,
            f"a new lake in {lake.path}{kept}; next:  captionlake ingest SOURCE INPUT --lake {folder}",
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
    emit(as_json, {"sources": known}, "\n".join(_described(s) for s in SOURCES.values()))


def _described(source: "Source") -> str:
    passed_on = {"bytes": "pictures", "urls": "URLs alone", "none": "nothing of the pictures"}[source.redistribute]
    return (
        f"{source.name}: {source.title} (collection {source.collection})\n  takes    {source.takes}\n"
        f"  licence  {source.license or 'as you state it'}; a release passes on {passed_on}"
    )


@click.command()
@click.argument("source")
@click.argument("inputs", nargs=-1, required=True)
@click.option("--archive", "archives", multiple=True, metavar="FILE", help="A zip or folder that holds the pictures.")
@click.option("--collection", help="Name of the collection, for quotas (default: the source's own).")
@click.option("--subset", help="Kind of the list within its collection, such as landmark or celebrity.")
@click.option("--limit", type=click.IntRange(min=1), help="Take the first rows alone.")
@click.option("--plan", is_flag=True, help="Say what would be fetched, how much and how long, and fetch nothing.")
@click.option("--retry-failed", is_flag=True, help="Try the rows that failed before, and no others.")
@click.option(
    "--reason", "retry_reasons", multiple=True, help="With --retry-failed: those that failed for this reason."
)
@click.option("--nsfw", is_flag=True, help="Score each new picture for nudity (column nsfw_score).")
@click.option("--keep-archives", is_flag=True, help="Keep archives that were downloaded (in LAKE/downloads).")
@click.option(
    "--fetch",
    "rules",
    multiple=True,
    metavar="RULE=VALUE",
    help="A rule of fetching, such as per_host=4 or robots=false.",
)
@click.option("--allow-private-hosts", is_flag=True, help="Fetch from loopback and private addresses too.")
@click.option("--license", help="Licence of the pictures, where the files do not say it.")
@click.option(
    "--redistribute", type=click.Choice(["bytes", "urls", "none"]), help="What a release may carry of the pictures."
)
@click.option(
    "--release",
    "label",
    metavar="NAME@VERSION",
    help="Of a captionlake export (hf): make its release here too, the same to its hash.",
)
@engine_options("spark")
@click.option(
    "--spark-master", metavar="URL", help="With --engine spark (default: SPARK_MASTER, else this machine alone)."
)
@lake_option
@json_option
def ingest(
    source: str,
    inputs: tuple[str, ...],
    plan: bool,
    rules: tuple[str, ...],
    label: str | None,
    lake: Path,
    as_json: bool,
    **options: Any,
) -> None:
    """Bring the pictures of a SOURCE (see `captionlake sources`) into the lake.

    INPUTS are its files: annotation files, a list of URLs, or a folder. Run it again to go on after an interruption.
    """
    from pydantic import ValidationError

    from captionlake.lake import Lake
    from captionlake.lake.engines import fetchers_of
    from captionlake.lake.ingest import ingest as run
    from captionlake.lake.ingest_config import IngestConfig
    from captionlake.lake.ingest_exported import check_label, release_of_ingest
    from captionlake.lake.ingest_preview import preview, preview_lines
    from captionlake.lake.ingest_report import ingest_line

    where = [options.pop(name) for name in ("engine", "ray_address", "spark_master")]
    try:
        fetch = dict(rule.split("=", 1) for rule in rules)
        lists = {name: list(options.pop(name)) for name in ("archives", "retry_reasons")}
        config = IngestConfig(source=source, inputs=list(inputs), fetch=fetch, **lists, **options)  # type: ignore[arg-type]
    except ValidationError as error:
        raise CaptionlakeError(f"ingest: {_said(error)}: see  captionlake ingest --help") from error
    except ValueError as error:
        raise CaptionlakeError(f"ingest: --fetch takes RULE=VALUE, not {' '.join(rules)}") from error
    with Lake.open(lake) as opened:
        if plan:
            found = preview(opened, config)
            emit(as_json, asdict(found), preview_lines(found))
            return
        if label is not None:
            check_label(config, label)
        with fetchers_of(*where) as fetchers:
            data = asdict(run(opened, config, fetchers=fetchers))
        said = ingest_line(data)
        if label is not None:
            made, new = release_of_ingest(opened, config, label)
            data["release"] = asdict(made) | {"new": new}
            said += f"\n{made.label}: {made.n_items:,} rows, {made.content_sha256}" + ("" if new else ", there already")
    emit(as_json, data, said)


def _said(error: "ValidationError") -> str:
    """The first problem, with its option."""
    first = error.errors()[0]
    where = " ".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else str(first["msg"])


@click.command()
@click.option("--source", help="One source, and its archives (tars, zips) or subsets one by one.")
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
            _counted(s.reasons),
        ]
        for s in found
    ]
    empty = "the lake is empty; next:  captionlake ingest SOURCE INPUT"
    text = table(headers, rows) if rows else empty
    parts: list[list[object]] = [
        [p.part, p.expected, p.present, p.failed, _counted(p.reasons)] for s in found for p in s.parts
    ]
    if parts:
        text += "\n\n" + table(["archive or subset", "expected", "present", "failed", "failed by reason"], parts)
    emit(as_json, {"sources": [asdict(s) for s in found]}, text)


def _counted(reasons: dict[str, int]) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in reasons.items())


commands: list[click.Command] = [init, sources, ingest, status, sql, release, conversations, *of_backups]
