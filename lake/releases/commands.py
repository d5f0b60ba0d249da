"""``captionlake release list|show|diff|verify|export|delete|gc``; ``create`` and ``rebuild`` stand with ``run``, for they need a recipe."""

from dataclasses import asdict
from pathlib import Path

import click

from captionlake.errors import CaptionlakeError
from captionlake.lake.options import emit, json_option, lake_option, table

FORMS = ("parquet", "webdataset", "sharegpt4v-json", "llava-json")


@click.group()
def release() -> None:
    """Versions of a data set: create, list, show, compare, verify, export, tidy."""


@release.command("list")
@lake_option
@json_option
def list_(lake: Path, as_json: bool) -> None:
    """All releases of the lake."""
    from captionlake.lake import Lake
    from captionlake.lake.releases.release import list_releases

    with Lake.open(lake) as opened:
        found = list_releases(opened)
    rows: list[list[object]] = [
        [
            *(r.label, r.kind, r.n_items, r.state, r.parent, r.snapshot_id, r.content_sha256[:12]),
            f"{r.created_at:%Y-%m-%d %H:%M}",
        ]
        for r in found
    ]
    text = table(["release", "kind", "items", "state", "parent", "snapshot", "content", "created (UTC)"], rows)
    emit(
        as_json,
        {"releases": [asdict(r) for r in found]},
        text if rows else "no releases yet; make one with  captionlake run RECIPE",
    )


@release.command()
@click.argument("label", metavar="NAME@VERSION")
@lake_option
@json_option
def show(label: str, lake: Path, as_json: bool) -> None:
    """What a release holds, and what was left out of it and why."""
    from captionlake.lake import Lake
    from captionlake.lake.releases.release import find_release
    from captionlake.lake.releases.report import composition, excluded, parts, splits

    with Lake.open(lake) as opened:
        found = find_release(opened, label)
        names = ["collection", "subset", "items", "captions"]
        items: list[tuple[object, ...]] = [*composition(opened, found)] if found.kind == "images" else []
        left, by_split = excluded(opened, found), splits(opened, found)
        if found.kind == "sft":
            names, items = ["part", "items", "picture in the lake", "of captions"], [*parts(opened, found)]
    head = f"{found.label}: {found.n_items:,} items, {found.state}, snapshot {found.snapshot_id}, content {found.content_sha256}"
    if found.parent is not None:
        head += f", after {found.parent}"
    if len(by_split) > 1:
        head += "\nsplits: " + ", ".join(f"{name} {n:,}" for name, n in by_split.items())
    shown = [head, table(names, [list(row) for row in items])]
    if found.kind == "images":
        rows: list[list[object]] = [list(row) for row in left]
        shown.append(table(["left out of", "reason", "images"], rows) if left else "nothing was left out")
    data = asdict(found) | {
        "splits": by_split,
        "composition": [dict(zip(names, row, strict=True)) for row in items],
        "excluded": [dict(zip(("collection", "reason", "images"), row, strict=True)) for row in left],
    }
    emit(as_json, data, "\n\n".join(shown))


@release.command()
@click.argument("first", metavar="NAME@VERSION")
@click.argument("second", metavar="[NAME@VERSION]", required=False)
@click.option(
    "--html", "page", type=click.Path(path_type=Path, dir_okay=False), help="Write a page with pictures of each group."
)
@lake_option
@json_option
def diff(first: str, second: str | None, page: Path | None, lake: Path, as_json: bool) -> None:
    """What changed from a release to a second one; of one alone, from its parent: rows added, removed and why, captioned anew."""
    from captionlake.lake import Lake
    from captionlake.lake.releases.diff import Outcome, compared, pair_to_compare
    from captionlake.lake.releases.diff_page import DiffPage, summary

    with Lake.open(lake) as opened:
        before, after = pair_to_compare(opened, first, second)
        with compared(opened, before, after) as found:
            if page is not None:
                DiffPage(opened, before, after, found).write(page)
    rows: list[list[object]] = [[name, *counts.values()] for name, counts in found.collections.items()]
    parts = [f"{found.before} to {found.after}: {summary(found)}"]
    parts += [table(["collection", *Outcome], rows)] if rows else []
    for title, counts in (("added, before", found.added_by), ("removed for", found.removed_by), ("moved", found.moved)):
        parts += [table([title, "rows"], [[*item] for item in counts.items()])] if counts else []
    data = asdict(found) | {"page": None if page is None else str(page)}
    emit(as_json, data, "\n\n".join(parts))


@release.command()
@click.argument("label", metavar="NAME@VERSION")
@lake_option
@json_option
def verify(label: str, lake: Path, as_json: bool) -> None:
    """Recompute every hash of a release, of pictures, rows and the whole. Exit 1 where one differs."""
    from captionlake.lake import Lake
    from captionlake.lake.releases.verification import note_verification, verify_release

    with Lake.open(lake) as opened:
        found = verify_release(opened, label)
        note_verification(opened, found)
    if found.n_problems:
        if as_json:
            emit(True, asdict(found), "")
        raise CaptionlakeError(
            f"{label} does not verify: {found.n_problems:,} problems, the first: {found.problems[0]}"
        )
    emit(
        as_json,
        asdict(found),
        f"{label} is {found.said}: {found.n_items:,} rows, {found.n_pictures:,} pictures, content {found.content_sha256}",
    )


@release.command()
@click.argument("label", metavar="NAME@VERSION")
@click.option("--force", is_flag=True, help="Delete it even where it was published.")
@lake_option
@json_option
def delete(label: str, force: bool, lake: Path, as_json: bool) -> None:
    """Forget a release. Its pictures and captions stay in the lake; `release gc` removes what it alone needed."""
    from captionlake.lake import Lake
    from captionlake.lake.releases.deletion import delete_release

    with Lake.open(lake) as opened:
        gone = delete_release(opened, label, force=force)
    emit(as_json, asdict(gone), f"{gone.label} is deleted: {gone.n_items:,} rows, content {gone.content_sha256}")


@release.command()
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@click.option(
    "--keep-days",
    type=float,
    default=7,
    show_default=True,
    help="Keep the snapshots of so many days, for --at. Those of releases stay in any case.",
)
@lake_option
@json_option
def gc(dry_run: bool, keep_days: float, lake: Path, as_json: bool) -> None:
    """Remove what no release and no row of today needs: old snapshots and their files, what killed processes left, unused copies."""
    from captionlake.lake import Lake
    from captionlake.lake.releases.gc import collect

    with Lake.open(lake) as opened:
        found = collect(opened, keep_days=keep_days, dry_run=dry_run)
    rows: list[list[object]] = [[kind, one.files, one.n_bytes] for kind, one in found.freed.items()]
    would = "would be " if dry_run else ""
    parts = [table(["kind", "files", "bytes"], [*rows, ["total", "", found.n_bytes]])]
    parts.append(
        f"{found.snapshots:,} snapshots {would}let go, {found.kept:,} kept; {found.n_bytes:,} bytes {would}freed"
    )
    if found.waiting.files:
        parts.append(
            f"{found.waiting.files:,} table files, {found.waiting.n_bytes:,} bytes, {would.strip() or 'are'} no longer needed, and go "
            "with a gc from tomorrow on, when no query is at them"
        )
    emit(as_json, asdict(found) | {"n_bytes": found.n_bytes}, "\n\n".join(parts))


@release.command()
@click.argument("label", metavar="NAME@VERSION")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--to", "form", type=click.Choice(FORMS), default=FORMS[0], show_default=True, help="The form to write.")
@click.option(
    "--own-use",
    is_flag=True,
    help="Parquet with the pictures of all sources, to train on; such a folder is not to be passed on.",
)
@lake_option
@json_option
def export(label: str, folder: Path, form: str, own_use: bool, lake: Path, as_json: bool) -> None:
    """Write a release into a new FOLDER: Parquet for `datasets` and the Hub, tars for `webdataset`, or JSON as LLaVA and ShareGPT4V."""
    from captionlake.lake import Lake
    from captionlake.lake.exports.forms import export_release

    with Lake.open(lake) as opened:
        counts = export_release(opened, label, form, folder, own_use=own_use)
    said = f"{counts.rows:,} rows in {counts.files:,} files, {counts.n_bytes:,} bytes, in {folder}"
    withheld = f"; {counts.withheld:,} pictures left out, as their sources allow no more" if counts.withheld else ""
    emit(as_json, asdict(counts), said + withheld)
