"""``captionlake conversations import|list|export``."""

from dataclasses import asdict
from pathlib import Path

import click

from captionlake.lake.options import emit, json_option, lake_option, printable, table


@click.group()
def conversations() -> None:
    """Conversations for fine-tuning, in LLaVA's JSON: import, list, export."""


@conversations.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False))
@lake_option
@json_option
def import_(files: tuple[Path, ...], lake: Path, as_json: bool) -> None:
    """Add the rows of FILES, such as llava_v1_5_mix665k.json, to the lake; those that are there are not added twice."""
    from captionlake.lake import Lake
    from captionlake.lake.sft.importing import import_conversations

    with Lake.open(lake) as opened:
        found = [import_conversations(opened, path) for path in files]
    lines = []
    for one in found:
        lines.append(
            f"{printable(one.origin)}: {one.rows:,} rows, {one.added:,} added, {one.present:,} there before; {one.text_only:,} of text "
            f"alone; {one.in_lake:,} of {one.images:,} pictures are in the lake"
        )
        bad = sum(one.bad.values())
        reasons = ", ".join(f"{why} {count:,}" for why, count in sorted(one.bad.items()))
        lines += [f"  {bad:,} rows of the wrong shape left out: {reasons}"] if bad else []
        lines += [f"  {printable(line)}" for line in one.bad_rows[:10]]
    emit(as_json, {"files": [asdict(one) for one in found]}, "\n".join(lines))


@conversations.command("list")
@lake_option
@json_option
def list_(lake: Path, as_json: bool) -> None:
    """The files whose rows the lake has."""
    from captionlake.lake import Lake
    from captionlake.lake.sft.origins import list_origins

    with Lake.open(lake) as opened:
        found = list_origins(opened)
    rows: list[list[object]] = [[one.origin, one.rows, one.text_only, one.with_picture] for one in found]
    text = table(["file", "rows", "text alone", "picture in the lake"], rows)
    emit(
        as_json,
        {"files": [asdict(one) for one in found]},
        text if rows else "no conversations yet; add some with  captionlake conversations import FILE",
    )


@conversations.command()
@click.argument("origin", metavar="NAME")
@click.argument("output", type=click.Path(path_type=Path, dir_okay=False))
@lake_option
@json_option
def export(origin: str, output: Path, lake: Path, as_json: bool) -> None:
    """Write the rows of the file NAME into the new file OUTPUT, as they were imported."""
    from captionlake.lake import Lake
    from captionlake.lake.exports.json_files import export_origin

    with Lake.open(lake) as opened:
        done = export_origin(opened, origin, output)
    emit(as_json, asdict(done), f"{done.rows:,} rows, {done.n_bytes:,} bytes, in {output}")
