"""``captionlake takedown``: show what would go, remove it, prove that it is gone."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from captionlake.curation.model_options import model_config, model_options
from captionlake.errors import CaptionlakeError
from captionlake.lake.options import emit, json_option, lake_option, printable, table

if TYPE_CHECKING:
    from collections.abc import Callable

    from captionlake.lake import Lake
    from captionlake.lake.takedown.finding import Found, Near
    from captionlake.lake.takedown.targets import Touched
    from captionlake.lake.takedown.tombstone import Tombstone

_NEAREST = 20  # pictures by cosine that are told


@click.command()
@click.option("--url", "urls", multiple=True, metavar="URL", help="The picture that was downloaded from here.")
@click.option("--image-id", "image_ids", multiple=True, metavar="SHA256", help="The picture with these bytes.")
@click.option("--source-key", "keys", multiple=True, metavar="SOURCE:KEY", help="The row of a source.")
@click.option(
    "--like", "like", multiple=True, type=click.Path(path_type=Path), help="A file: its bytes, and what looks like it."
)
@click.option(
    "--within",
    type=click.IntRange(0, 32),
    metavar="BITS",
    help="With --like: take also what differs in so many of 64 bits.",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="COSINE",
    help="With --like: take also what has so high a cosine by the lake's CLIP embeddings.",
)
@click.option("--model-id", metavar="ID", help="Whose embeddings, with --like (default: the lake's only model).")
@model_options(
    "The open_clip model of the embeddings, for a --like FILE that the lake has not; tells what it finds alike."
)
@click.option("--reason", help="Why; it is kept with the hashes.")
@click.option("--dry-run", is_flag=True, help="Show what would go, and remove nothing.")
@click.option("--yes", is_flag=True, help="Remove without asking.")
@click.option("--resume", is_flag=True, help="Finish takedowns that were ended in the middle.")
@click.option("--list", "list_", is_flag=True, help="Show the takedowns that were.")
@click.option(
    "--verify",
    metavar="ID",
    help="Look through the whole lake for what takedown ID removed (with --url, --like …: for these too).",
)
@lake_option
@json_option
def takedown(lake: Path, as_json: bool, **asked: Any) -> None:
    """Remove pictures and all that the lake holds of them, keep them out, and say what must be published again."""
    from captionlake.lake import Lake

    with Lake.open(lake) as opened:
        if asked["list_"]:
            _list(opened, as_json)
        elif asked["verify"]:
            _verify(opened, asked, as_json)
        elif asked["resume"]:
            _resume(opened, as_json)
        else:
            _remove(opened, asked, as_json)


def _remove(lake: "Lake", asked: dict[str, Any], as_json: bool) -> None:
    from captionlake.lake.takedown.finding import Request, find
    from captionlake.lake.takedown.removal import take_down
    from captionlake.lake.takedown.targets import touched

    keys = [_key(text) for text in asked["keys"]]
    request = Request(
        urls=asked["urls"],
        image_ids=asked["image_ids"],
        keys=keys,
        like=asked["like"],
        within=asked["within"],
        threshold=asked["threshold"],
        alike=_by_model(lake, asked),
    )
    found = find(lake, request)
    meets = touched(lake, found.hashes)
    shown = _shown(found, meets)
    if not as_json:
        click.echo(shown)
    if asked["dry_run"] or not found.hashes:
        if not asked["dry_run"]:
            raise CaptionlakeError(
                "nothing was named that the lake has: see above what looks like it, and name it by --image-id"
            )
        if as_json:
            emit(True, {"found": asdict(found), "touched": meets.to_dict(), "removed": False}, "")
        return
    if not asked["reason"]:
        raise CaptionlakeError("a takedown needs a --reason, which is kept with the hashes")
    if not asked["yes"]:
        if not sys.stdin.isatty():
            raise CaptionlakeError("a takedown cannot be undone: look at --dry-run, then give --yes")
        click.confirm("Remove all of this for good?", abort=True, err=True)
    done = take_down(lake, found.hashes, asked["reason"])
    emit(
        as_json,
        {"found": asdict(found), "touched": done.touched, "takedown_id": done.takedown_id, "removed": True},
        _said(done),
    )


def _by_model(lake: "Lake", asked: dict[str, Any]) -> "Callable[[Path], list[tuple[str, float]]] | None":
    """What the embedding model finds alike, where one is asked for."""
    config = model_config(**{name: asked[name] for name in ("model", "pretrained", "device", "precision")})
    if config is None and asked["model_id"] is None and asked["threshold"] is None:
        return None
    if not asked["like"]:
        raise click.UsageError("--threshold, --model and --model-id are for --like FILE: give the file")
    from captionlake.curation.model import load_model
    from captionlake.curation.search import search_like

    model = load_model(config) if config else None
    threshold = asked["threshold"]

    def alike(path: Path) -> list[tuple[str, float]]:
        limit = _NEAREST
        while True:
            hits = search_like(lake, path, model=model, model_id=asked["model_id"], limit=limit)
            if threshold is None or len(hits) < limit or hits[-1].score < threshold:
                return [(hit.image_id, hit.score) for rank, hit in enumerate(hits) if _told(rank, hit.score, threshold)]
            limit *= 8

    return alike


def _told(rank: int, score: float, threshold: float | None) -> bool:
    return rank < _NEAREST or (threshold is not None and score >= threshold)


def _key(text: str) -> tuple[str, str]:
    source, colon, key = text.partition(":")
    if not colon or not source or not key:
        raise CaptionlakeError(
            f"'{text}' names no row: write SOURCE:KEY, as in the columns source and source_key of images"
        )
    return source, key


def _shown(found: "Found", meets: "Touched") -> str:
    rows: list[list[object]] = [[source, key, url or ""] for source, key, url in found.rows[:20]]
    parts = [table(["source", "key", "url"], rows)]
    if len(found.rows) > 20:
        parts.append(f"and {len(found.rows) - 20:,} rows more")
    counts: list[list[object]] = [[name, count] for name, count in meets.tables.items()]
    parts.append(table(["table", "rows"], counts) if counts else "no row of any table")
    parts.append(f"{meets.pictures:,} pictures, {meets.n_bytes:,} bytes, in {', '.join(meets.shards) or 'no shard'}")
    parts += _affected(meets.to_dict())
    taken = [one for one in found.near if one.taken]
    if taken:
        parts.append("taken for their likeness:\n" + _looks(taken))
    other = [one for one in found.near if not one.taken]
    if other:
        how = "--within BITS, --threshold COSINE or --image-id"
        parts.append(f"not named, but they look like it (take them with {how}):\n" + _looks(other))
    return "\n\n".join(parts)


def _looks(near: "list[Near]") -> str:
    rows: list[list[object]] = [
        ["" if one.cosine is None else f"{one.cosine:.4f}", one.bits, one.image_id, f"{one.source}:{one.source_key}"]
        for one in near[:_NEAREST]
    ]
    more = f"\nand {len(near) - _NEAREST:,} more" if len(near) > _NEAREST else ""
    return table(["cosine", "bits", "image_id", "row"], rows) + more


def _affected(meets: dict[str, Any]) -> list[str]:
    parts = []
    if meets["releases"]:
        parts.append(table(["release", "rows"], [[label, count] for label, count in meets["releases"].items()]))
    for one in meets["publications"]:
        label, repo_id = printable(one["release"]), printable(one["repo_id"])
        parts.append(f"published: {label} as {repo_id}; afterwards publish it again, without its history there")
    parts += [f"exported: {printable(one['folder'])} ({printable(one['release'])})" for one in meets["exports"]]
    parts += [f"trained on it: {printable(one['checkpoint'])} ({printable(one['release'])})" for one in meets["models"]]
    return parts


def _said(done: "Tombstone") -> str:
    lines = [f"takedown {done.takedown_id}: removed"]
    if not done.touched.get("catalog_packed", True):
        lines.append(
            "a reader kept the catalog from being packed, so deleted text may stay in its free pages: when it has ended, run  "
            "captionlake release gc"
        )
    if keeps := done.touched.get("catalog_keeps"):
        lines.append(keeps)
    lines += _affected(done.touched | {"releases": {}})
    lines.append(f"prove it with  captionlake takedown --verify {done.takedown_id}")
    return "\n".join(lines)


def _resume(lake: "Lake", as_json: bool) -> None:
    from captionlake.lake.takedown.removal import resume, unfinished

    done = [resume(lake, one) for one in unfinished(lake)]
    text = "\n".join(_said(one) for one in done) or "every takedown is done"
    emit(as_json, {"resumed": [asdict(one) for one in done]}, text)


def _list(lake: "Lake", as_json: bool) -> None:
    from captionlake.lake.takedown.tombstone import tombstones

    found = tombstones(lake)
    rows: list[list[object]] = [
        [one.takedown_id, f"{one.created_at:%Y-%m-%d %H:%M}", one.touched["state"], one.touched["pictures"], one.reason]
        for one in found
    ]
    text = table(["takedown", "at (UTC)", "state", "pictures", "reason"], rows) if rows else "no takedowns yet"
    emit(as_json, {"takedowns": [asdict(one) for one in found]}, text)


def _verify(lake: "Lake", asked: dict[str, Any], as_json: bool) -> None:
    from captionlake.lake.takedown.needles import picture_needle, text_needle
    from captionlake.lake.takedown.scan import scan
    from captionlake.lake.takedown.tombstone import tombstone

    one = tombstone(lake, asked["verify"])
    needles = [text_needle(url) for url in asked["urls"]]
    needles += [text_needle(_key(text)[1]) for text in asked["keys"]]
    needles += [picture_needle(path) for path in asked["like"]]
    found = scan(lake, one.hashes, needles)
    data = asdict(found) | {"takedown_id": one.takedown_id, "clean": not found.left}
    if found.left:
        if as_json:
            emit(True, data, "")
        shown = "; ".join(printable(place) for place in found.left[:5])
        raise CaptionlakeError(f"takedown {one.takedown_id}: something is left in {len(found.left):,} places: {shown}")
    kinds = ", ".join(f"{count:,} of kind {kind}" for kind, count in sorted(found.files.items()))
    looked = f"{sum(found.files.values()):,} files ({kinds}), {found.n_bytes:,} bytes, {found.values:,} values decoded"
    what = f", its hashes and {len(needles)} texts or pictures that you gave" if needles else ", its hashes"
    emit(as_json, data, f"nothing of takedown {one.takedown_id} is left{what}: {looked}")
