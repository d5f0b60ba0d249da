"""``publish_release`` and ``publish_checkpoint``: a branch is filled and read back, main follows in one commit, then the tag."""

import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from captionlake.cards.publishing import staging
from captionlake.cards.publishing.erase import Erased, erase
from captionlake.cards.publishing.hub import Hub, HubError
from captionlake.cards.publishing.plan import KEPT, LocalFile, difference, local_files
from captionlake.cards.publishing.preflight import (
    file_problems,
    licence_problems,
    name_problems,
    refuse,
    release_order,
    release_problems,
)
from captionlake.cards.publishing.receipts import note_publication, publications
from captionlake.cards.publishing.upload import bring, upload, verify
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.releases.release import find_release


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishOptions:
    """``private``, ``gated``: None leaves a repository as it is (a new one: public, open)."""

    private: bool | None = None
    gated: str | None = None
    dry_run: bool = False
    erase_history: bool = False


@dataclass(slots=True)
class Published:
    """What came of it. ``state``: published, already published, dry run. ``files``: those that travel, ``same``: those there."""

    state: str
    url: str
    tag: str
    revision: str | None = None
    files: list[dict[str, Any]] = field(default_factory=list)
    same: int = 0
    removed: list[str] = field(default_factory=list)
    bytes_sent: int = 0
    detail: dict[str, Any] = field(default_factory=dict)
    remains: list[str] = field(default_factory=list)


def publish_release(lake: Lake, label: str, repo_id: str, options: PublishOptions) -> Published:
    """Publish a release as a data set. Doing it again does nothing; a killed one goes on where it was."""
    release = find_release(lake, label)
    refuse(name_problems(repo_id, release.version))
    hub = Hub(repo_id, "dataset")
    mark = staging.release_mark(lake, release)
    tag = f"v{release.version}"
    there = look(hub, tag, mark, options)
    if there.problems:
        refuse(there.problems)
    if there.tagged == mark:
        if not options.dry_run and not options.erase_history:
            _note(lake, hub, mark, there.tags[tag], options)
        if not options.erase_history or options.dry_run:
            return Published("already published", hub.url, tag, there.tags[tag])
    with staging.held(lake, label):
        refuse(release_problems(lake, release))
        staged = staging.stage(lake, release)
        files = local_files(staged.folder)
        refuse(file_problems(files) + licence_problems(lake, files))
        done, erased = deliver(hub, files, mark, there, options)
        if not options.dry_run:
            before = there.tags.get(tag)
            done.detail = _note(lake, hub, mark, str(done.revision), options, done, before, erased)
            done.remains = _remaining(lake, hub, repo_id, label, before, erased)
            staged.discard()
    return done


def publish_checkpoint(checkpoint: Path, repo_id: str, tag: str, options: PublishOptions) -> Published:
    """Publish a model's folder: weights in safetensors, configuration, tokenizer, card. No lake is written."""
    from captionlake.cards.publishing.checkpoint import model_files

    refuse(name_problems(repo_id, tag.removeprefix("v")))
    hub = Hub(repo_id, "model")
    with model_files(checkpoint, tag) as (files, mark):
        there = look(hub, tag, mark, options)
        refuse(there.problems + file_problems(files))
        if there.tagged == mark:
            return Published("already published", hub.url, tag, there.tags[tag])
        done, _ = deliver(hub, files, mark, there, options)
    return done


@dataclass(slots=True)
class There:
    """What the repository holds before: ``mark`` of main, ``tagged`` of the version's tag."""

    exists: bool = False
    head: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    mark: dict[str, Any] | None = None
    tagged: dict[str, Any] | None = None
    problems: list[str] = field(default_factory=list)


def look(hub: Hub, tag: str, mark: dict[str, Any], options: PublishOptions) -> There:
    """Whether we may write there, and what is there."""
    there = There()
    if hub.token is None:
        there.problems.append("no token: run  hf auth login,  or set HF_TOKEN to a token that may write")
        return there
    try:
        me = hub.call("asking who may write to", hub.api.whoami)
    except HubError as error:
        there.problems.append(str(error))
        return there
    role = me.get("auth", {}).get("accessToken", {}).get("role")
    if role == "read":
        there.problems.append(
            "the token may only read: make one that may write and set HF_TOKEN, or run  hf auth login"
        )
    owner = hub.repo_id.split("/")[0]
    if owner.lower() not in {str(x.get("name")).lower() for x in (me, *me.get("orgs", []))}:
        there.problems.append(
            f"the token is not {owner}'s, nor of a member of {owner}: use another, or another OWNER/NAME"
        )
    there.exists = hub.exists()
    if not there.exists:
        return there
    branches, there.tags = hub.refs()
    there.head = branches.get("main")
    if there.head is None:
        there.problems.append(f"{hub.repo_id} has no branch main: make one, or name another repository")
        return there
    there.mark = _mark(hub, there.head)
    if there.mark is None and set(hub.tree(there.head)) - KEPT:
        there.problems.append(
            f"{hub.repo_id} holds files that captionlake did not publish: name another repository, or empty it first"
        )
    elif there.mark is not None and there.mark.get("name") != mark["name"]:
        there.problems.append(
            f"{hub.repo_id} holds {there.mark.get('name')!r}, not {mark['name']!r}: name another repository"
        )
    if tag in there.tags:
        there.tagged = _mark(hub, there.tags[tag])
        if not _replaces(mark, there.tagged):
            there.problems.append(
                f"{tag} of {hub.repo_id} is there with other content: a version never changes, release a new one"
            )
    return there


def _replaces(mark: dict[str, Any], tagged: dict[str, Any] | None) -> bool:
    """Whether content may take a tag: the same, or the same release with more rows taken down."""
    if tagged is None:
        return False
    if mark == tagged:
        return True
    same = all(mark.get(key) == tagged.get(key) for key in ("kind", "name", "version", "content_sha256"))
    return same and mark.get("redacted", 0) > tagged.get("redacted", 0)


def _mark(hub: Hub, revision: str) -> dict[str, Any] | None:
    try:
        found = json.loads(hub.read(staging.MARK, revision))
    except HubError as error:
        if error.status == 404:
            return None
        raise
    except ValueError:
        return None
    return found if isinstance(found, dict) and found.get("format") == 1 else None


def deliver(
    hub: Hub, files: list[LocalFile], mark: dict[str, Any], there: There, options: PublishOptions
) -> tuple[Published, Erased | None]:
    """Branch, proof, main, tag. Main is left alone where a later version stands there."""
    tag, branch = f"v{mark['version']}", f"captionlake/{mark['version']}"
    plan = difference(files, hub.tree(there.head) if there.head else {})
    done = Published("dry run", hub.url, tag, same=len(plan.same), removed=plan.gone, bytes_sent=plan.n_bytes)
    done.files = [{"path": file.path, "bytes": file.size, "sha256": file.sha256} for file in plan.new]
    if options.dry_run:
        return done, None
    _prepare(hub, there, options)
    head = there.head or hub.head("main")
    branches, _ = hub.refs()
    if branch not in branches:
        hub.of_repo("branching", hub.api.create_branch, branch=branch, revision=head, exist_ok=True)
    message = f"{mark['name']} {mark['version']}"
    upload(hub, branch, files, message)
    revision = hub.head(branch)
    verify(hub, revision, files)
    later = there.mark and release_order(str(there.mark.get("version"))) > release_order(str(mark["version"]))
    home = branch if later else "main"
    if not later:
        revision = bring(hub, "main", files, head, message)
        verify(hub, revision, files)
    erased = None
    if options.erase_history and there.exists:
        erased = erase(hub, home, tag)
        revision = hub.head(home)
        verify(hub, revision, files)
    set_tag(hub, tag, revision)
    hub.of_repo("removing a branch of", _delete_branch, hub, branch)
    if erased is not None:
        erased.delete_unreferenced(hub)
    done.state, done.revision = "published", revision
    return done, erased


def _prepare(hub: Hub, there: There, options: PublishOptions) -> None:
    if not there.exists:
        hub.of_repo("creating", hub.api.create_repo, private=bool(options.private), exist_ok=True)
    elif options.private is not None:
        hub.of_repo("setting up", hub.api.update_repo_settings, private=options.private)
    if options.gated is not None:
        hub.of_repo("setting up", hub.api.update_repo_settings, gated=options.gated)


def _delete_branch(repo_id: str, hub: Hub, branch: str, *, repo_type: str) -> None:
    from huggingface_hub.errors import HfHubHTTPError

    try:
        hub.api.delete_branch(repo_id, branch=branch, repo_type=repo_type)
    except HfHubHTTPError as error:
        if error.response.status_code != 404:
            raise


def set_tag(hub: Hub, tag: str, revision: str) -> None:
    """The tag at a commit; one that is elsewhere moves."""
    _, tags = hub.refs()
    if tags.get(tag) == revision:
        return
    if tag in tags:
        hub.of_repo("moving a tag of", hub.api.delete_tag, tag=tag)
    hub.of_repo("tagging", hub.api.create_tag, tag=tag, revision=revision, exist_ok=True)


def _note(
    lake: Lake,
    hub: Hub,
    mark: dict[str, Any],
    revision: str,
    options: PublishOptions,
    done: Published | None = None,
    before: str | None = None,
    erased: Erased | None = None,
) -> dict[str, Any]:
    """The row of ``publications``, once a revision; also of a publish that died between the tag and the row."""
    tag = f"v{mark['version']}"
    detail = {
        "endpoint": hub.endpoint,
        "tag": tag,
        "content_sha256": mark["content_sha256"],
        "redacted": mark["redacted"],
        "private": options.private,
        "files": len(done.files) + done.same if done else None,
        "bytes_sent": done.bytes_sent if done else None,
        "before": before,
        "removed": done.removed if done else [],
        "history_erased": erased is not None,
        "erased": erased.receipt() if erased else None,
        "at": datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="seconds"),
    }
    note_publication(lake, mark["name"], mark["version"], hub.repo_id, revision, detail)
    return detail


def _remaining(lake: Lake, hub: Hub, repo_id: str, label: str, before: str | None, erased: Erased | None) -> list[str]:
    """What of removed rows can still be read there, a line each with what to do."""
    said = []
    if before is not None and erased is None:
        said.append(
            f"the history of {repo_id} still holds the old files (commit {before[:12]}): "
            f"captionlake publish {label} {repo_id} --erase-history"
        )
    _, tags = hub.refs()
    newest = {f"{p['name']}@{p['version']}": p for p in publications(lake) if p["repo_id"] == repo_id}
    for other, row in newest.items():
        if other == label or row["detail"].get("tag") not in tags:
            continue
        try:
            now = staging.release_mark(lake, find_release(lake, other))["redacted"]
        except CaptionlakeError:
            continue
        if now > row["detail"].get("redacted", 0):
            said.append(
                f"{row['detail']['tag']} holds rows that were taken down: captionlake publish {other} {repo_id} --erase-history"
            )
    return said
