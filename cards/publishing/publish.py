"""``publish_release`` and ``publish_checkpoint``: what is checked, in which order, and what is noted after."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from captionlake.cards.publishing import staging
from captionlake.cards.publishing.config import PublishOptions
from captionlake.cards.publishing.deliver import Published, branch_of, deliver, remove_branch, rewrite_standing
from captionlake.cards.publishing.erase import Erased
from captionlake.cards.publishing.hub import Hub
from captionlake.cards.publishing.plan import local_files
from captionlake.cards.publishing.preflight import (
    file_problems,
    licence_problems,
    name_problems,
    refuse,
    release_problems,
)
from captionlake.cards.publishing.receipts import note_publication, publications
from captionlake.cards.publishing.standing import look, same_content
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.releases.release import find_release


def publish_release(lake: Lake, label: str, repo_id: str, options: PublishOptions) -> Published:
    """Publish a release as a data set. Doing it again does nothing; a killed one goes on where it was."""
    release = find_release(lake, label)
    refuse(name_problems(repo_id, release.version))
    hub = Hub(repo_id, "dataset")
    mark = staging.release_mark(lake, release)
    tag = f"v{release.version}"
    there = look(hub, tag, mark, dry_run=options.dry_run)
    if not there.problems and same_content(mark, there.tagged):
        done = Published("already published", hub.url, tag, there.tags[tag])
        if options.erase_history and not options.dry_run:
            rewritten = rewrite_standing(hub, mark, there)
            done.revision = rewritten.after
            done.detail = _note(lake, hub, mark, done, there.tags[tag], rewritten)
        elif not options.dry_run:
            _settle(lake, hub, mark, there.branches, done)
        done.remains = [] if options.dry_run else _remaining(lake, hub, mark)
        return done
    refuse(there.problems + release_problems(lake, release))

    def unchanged() -> None:
        if staging.release_mark(lake, find_release(lake, label)) != mark:
            raise CaptionlakeError(f"{label} changed while it was uploaded, nothing of it is visible: publish it again")

    with staging.held(lake, label):
        staged = staging.stage(lake, release, repo_id)
        files = local_files(staged.folder)
        refuse(file_problems(files) + licence_problems(lake, files))
        done, erased = deliver(hub, files, mark, there, options, unchanged)
        if not options.dry_run:
            done.detail = _note(lake, hub, mark, done, there.tags.get(tag), erased)
            done.remains = _remaining(lake, hub, mark)
            staged.discard()
    return done


def _settle(lake: Lake, hub: Hub, mark: dict[str, Any], branches: dict[str, str], done: Published) -> None:
    """What a publish that was killed after the tag did not do any more."""
    rows = publications(lake, mark["name"], mark["version"])
    if any(row["repo_id"] == hub.repo_id and row["revision"] == done.revision for row in rows):
        return
    if branch_of(mark["version"]) in branches:
        remove_branch(hub, branch_of(mark["version"]))
    done.detail = _note(lake, hub, mark, done, None, None)
    staging.clear(lake)


def publish_checkpoint(
    checkpoint: Path,
    repo_id: str,
    tag: str,
    options: PublishOptions,
    lake: Lake | None = None,
    *,
    results: Sequence[Path] = (),
    licence: str | None = None,
) -> Published:
    """Publish a model's folder: weights in safetensors, configuration, tokenizer, card. ``lake``, ``results``, ``licence``: the card's."""
    from captionlake.cards.publishing.checkpoint import model_files

    if options.erase_history:
        raise CaptionlakeError("a model's history is not rewritten: leave out --erase-history")
    refuse(name_problems(repo_id, tag.removeprefix("v")))
    hub = Hub(repo_id, "model")
    with model_files(checkpoint, tag, lake, results=results, licence=licence) as (files, mark):
        there = look(hub, f"v{mark['version']}", mark, dry_run=options.dry_run)
        refuse(there.problems + file_problems(files))
        if same_content(mark, there.tagged):
            done = Published("already published", hub.url, f"v{mark['version']}", there.tags[f"v{mark['version']}"])
            if branch_of(mark["version"]) in there.branches and not options.dry_run:
                remove_branch(hub, branch_of(mark["version"]))
            return done
        done, _ = deliver(hub, files, mark, there, options)
    return done


def _note(
    lake: Lake, hub: Hub, mark: dict[str, Any], done: Published, before: str | None, erased: Erased | None
) -> dict[str, Any]:
    """The row of ``publications``, once a revision. ``files`` None: they were there, by an earlier process."""
    known = done.state == "published"
    detail = {
        "endpoint": hub.endpoint,
        "tag": done.tag,
        "content_sha256": mark["content_sha256"],
        "redacted": mark["redacted"],
        "private": hub.is_private(),
        "files": len(done.files) + done.same if known else None,
        "bytes_sent": done.bytes_sent if known else None,
        "before": before,
        "removed": done.removed,
        "history_erased": erased is not None,
        "erased": erased.receipt() if erased else None,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    note_publication(lake, mark["name"], mark["version"], hub.repo_id, str(done.revision), detail)
    return detail


def _remaining(lake: Lake, hub: Hub, mark: dict[str, Any]) -> list[str]:
    """What of removed rows can still be read there, a line each with what to do."""
    said, label = [], f"{mark['name']}@{mark['version']}"
    here = (hub.repo_id, hub.endpoint)
    rows = [row for row in publications(lake) if (row["repo_id"], row["detail"].get("endpoint")) == here]
    labels = [f"{row['name']}@{row['version']}" for row in rows]
    newest = dict(zip(labels, rows, strict=True))
    redacted = [
        row["detail"].get("redacted", 0) if one == label else None for one, row in zip(labels, rows, strict=True)
    ]
    held = any(count is not None and count < mark["redacted"] for count in redacted)
    since = redacted.index(mark["redacted"]) if mark["redacted"] in redacted else len(rows)
    if held and not any(row["detail"].get("history_erased") for row in rows[since:]):
        said.append(
            f"the history of {hub.repo_id} still holds rows that were taken down: "
            f"captionlake publish {label} {hub.repo_id} --erase-history"
        )
    _, tags = hub.refs()
    for other, row in newest.items():
        if other == label or row["detail"].get("tag") not in tags:
            continue
        try:
            now = staging.release_mark(lake, find_release(lake, other))["redacted"]
        except CaptionlakeError:  # the release was deleted with --force
            if mark["redacted"]:
                said.append(f"{row['detail']['tag']} is of a release that this lake no longer has: look at it yourself")
            continue
        if now > row["detail"].get("redacted", 0):
            said.append(
                f"{row['detail']['tag']} holds rows that were taken down: "
                f"captionlake publish {other} {hub.repo_id} --erase-history"
            )
    return said
