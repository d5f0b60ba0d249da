"""``captionlake publish``: a release or a model to the Hugging Face Hub."""

from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from captionlake.errors import CaptionlakeError
from captionlake.lake.options import emit, json_option, lake_of, printable


@click.command()
@click.argument("what", metavar="NAME@VERSION|CHECKPOINT")
@click.argument("repo_id", metavar="OWNER/NAME")
@click.option("--dry-run", is_flag=True, help="Check everything and say what would travel; create and send nothing.")
@click.option("--private/--public", default=None, help="Who sees the repository; left as it is where not given.")
@click.option(
    "--gated", type=click.Choice(["auto", "manual"]), help="Readers ask first; approved by itself or by hand."
)
@click.option("--tag", default=None, help="Of a model: the version's tag, such as v1.0.0.")
@click.option(
    "--results", multiple=True, type=click.Path(path_type=Path), help="Of a model: what captionlake eval wrote."
)
@click.option("--license", "licence", help="Of a model: the weights' licence, by the Hub's name or its address.")
@click.option(
    "--erase-history", is_flag=True, help="After a takedown: rewrite history, so that old files cannot be read there."
)
@click.option("--lake", envvar="CAPTIONLAKE_LAKE", metavar="DIR", help="The lake's folder (or set CAPTIONLAKE_LAKE).")
@json_option
def publish(
    what: str,
    repo_id: str,
    lake: str | None,
    as_json: bool,
    tag: str | None,
    results: tuple[Path, ...],
    licence: str | None,
    **given: Any,
) -> None:
    """Publish a release, or a checkpoint's folder, to the Hugging Face Hub; readers see the old version or the new, never half.

    The token is HF_TOKEN's, or the one that  hf auth login  keeps.
    """
    from captionlake.cards.publishing.config import PublishOptions
    from captionlake.cards.publishing.publish import publish_checkpoint, publish_release
    from captionlake.lake import Lake

    options = PublishOptions(**given)
    if "@" in what and not Path(what).is_dir():
        if results or licence or tag:
            raise CaptionlakeError(
                "--tag, --results and --license are for a model: a release has its own version and licences"
            )
        with Lake.open(lake_of(lake)) as opened:
            done = publish_release(opened, what, repo_id, options)
    elif tag is None:
        raise CaptionlakeError("a model needs its version's tag: add --tag v1.0.0")
    else:
        with nullcontext() if lake is None else Lake.open(lake_of(lake)) as opened:
            done = publish_checkpoint(Path(what), repo_id, tag, options, opened, results=results, licence=licence)
    lines = [f"{done.state}: {done.url} {done.tag}" + (f", commit {done.revision[:12]}" if done.revision else "")]
    if done.state != "already published":
        lines.append(f"{len(done.files):,} files, {done.bytes_sent:,} bytes differ; {done.same:,} are the same there")
    if not done.looked:
        lines[-1] = (
            f"{len(done.files):,} files, {done.bytes_sent:,} bytes to a new repository; what stands there was not looked at, "
            "as there is no token"
        )
    if done.state == "dry run":
        lines += [f"  + {printable(file['path'])}  {file['bytes']:,}" for file in done.files]
        lines += [f"  - {printable(path)}" for path in done.removed]
    if erased := done.detail.get("erased"):
        lines.append(
            f"history rewritten: {len(erased['objects'])} large files that nothing names any more were deleted there"
        )
    lines += [f"remains: {line}" for line in done.remains]
    emit(as_json, asdict(done), "\n".join(lines))


commands: list[click.Command] = [publish]
