"""A version brought to its repository: a branch is filled and read back, main follows in one commit, then the tag."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from captionlake.cards.publishing.config import PublishOptions
from captionlake.cards.publishing.erase import Erased, erase
from captionlake.cards.publishing.hub import Hub
from captionlake.cards.publishing.plan import LocalFile, difference
from captionlake.cards.publishing.standing import Standing, same_content
from captionlake.cards.publishing.upload import bring, upload, verify, verify_listing
from captionlake.lake.releases.semver import is_version, precedence


@dataclass(slots=True)
class Published:
    """What came of it. ``state``: published, already published, dry run. ``files``: those that travel; ``same``: how many are there.

    ``looked``: whether the repository was looked at, for which a dry run without a token has no right.
    """

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
    looked: bool = True


def branch_of(version: str) -> str:
    """The branch where a version is put together."""
    return f"captionlake/{version}"


def deliver(
    hub: Hub,
    files: list[LocalFile],
    mark: dict[str, Any],
    there: Standing,
    options: PublishOptions,
    unchanged: Callable[[], None] = lambda: None,
) -> tuple[Published, Erased | None]:
    """Bring ``files`` there. Main is left alone where a later version stands on it: then the tag alone leads to the files.

    ``unchanged`` is called before readers see the files, and raises where they are no longer what is to be published.
    """
    version = str(mark["version"])
    tag, branch = f"v{version}", branch_of(version)
    plan = difference(files, hub.tree(there.head) if there.head else {})
    done = Published(
        "dry run", hub.url, tag, same=len(plan.same), removed=plan.gone, bytes_sent=plan.n_bytes, looked=there.looked
    )
    done.files = [{"path": file.path, "bytes": file.size, "sha256": file.sha256} for file in plan.new]
    if options.dry_run:
        return done, None
    _prepare(hub, there, options)
    head = there.head or hub.head("main")
    aside = _is_later(there.mark, version)
    message = f"{mark['name']} {version}"
    filled = head
    if aside or not plan.empty:
        if branch not in there.branches:
            hub.of_repo("branching", hub.api.create_branch, branch=branch, revision=head, exist_ok=True)
        upload(hub, branch, files, message)
        filled = hub.head(branch)
        verify(hub, filled, files)
    unchanged()
    if aside:
        home, revision = branch, filled
    else:
        home, revision = "main", bring(hub, "main", files, head, message, filled)
        verify_listing(hub, revision, files)
    done.state, done.revision = "published", revision
    if options.erase_history and there.exists:
        erased = rewrite(hub, tag, home)
        done.revision = erased.after
        verify(hub, erased.after, files)
        return done, erased
    set_tag(hub, tag, revision)
    remove_branch(hub, branch)
    return done, None


def rewrite_standing(hub: Hub, mark: dict[str, Any], there: Standing) -> Erased:
    """Rewrite the history of a repository that has this content under its tag."""
    tag, branch = f"v{mark['version']}", branch_of(mark["version"])
    if same_content(mark, there.mark):
        return rewrite(hub, tag, "main")
    remove_branch(hub, branch)
    hub.of_repo("branching", hub.api.create_branch, branch=branch, revision=there.tags[tag], exist_ok=True)
    return rewrite(hub, tag, branch)


def rewrite(hub: Hub, tag: str, home: str) -> Erased:
    """Leave each branch and tag its content without a past, ``tag`` that of the branch ``home``; then delete what none of them names."""
    erased = erase(hub, home, tag)
    set_tag(hub, tag, erased.after)
    if home != "main":
        remove_branch(hub, home)
    erased.delete_unreferenced(hub)
    return erased


def _is_later(standing: dict[str, Any] | None, version: str) -> bool:
    other = str((standing or {}).get("version"))
    return is_version(other) and precedence(other) > precedence(version)


def _prepare(hub: Hub, there: Standing, options: PublishOptions) -> None:
    """The repository, with the visibility that is asked for, before it has content."""
    if not there.exists:
        hub.of_repo("creating", hub.api.create_repo, private=bool(options.private), exist_ok=True)
    settings: dict[str, Any] = {"private": options.private, "gated": options.gated}
    if asked := {name: value for name, value in settings.items() if value is not None}:
        hub.of_repo("setting up", hub.api.update_repo_settings, **asked)


def remove_branch(hub: Hub, branch: str) -> None:
    """Remove one of our branches, where it is there."""
    if branch in hub.refs()[0]:
        hub.drop("removing a branch of", hub.api.delete_branch, branch=branch)


def set_tag(hub: Hub, tag: str, revision: str) -> None:
    """The tag at a commit; one that is elsewhere moves."""
    _, tags = hub.refs()
    if tags.get(tag) == revision:
        return
    if tag in tags:
        hub.drop("moving a tag of", hub.api.delete_tag, tag=tag)
    hub.of_repo("tagging", hub.api.create_tag, tag=tag, revision=revision, exist_ok=True)
