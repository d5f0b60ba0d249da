"""History of a repository rewritten, so that files which are in no branch or tag cannot be read by an old commit's name."""

from dataclasses import dataclass, field
from typing import Any

from captionlake.cards.publishing.hub import Hub
from captionlake.errors import CaptionlakeError

_WORK = "captionlake/"
_MOVE = f"{_WORK}squash-"  # then the tag that is to stand there


@dataclass(slots=True)
class Erased:
    """A receipt: branches and tags whose history was rewritten, objects of large file storage deleted for good."""

    before: str
    after: str = ""
    rewritten: list[str] = field(default_factory=list)
    objects: list[dict[str, Any]] = field(default_factory=list)

    def receipt(self) -> dict[str, Any]:
        """As JSON."""
        return {"before": self.before, "after": self.after, "rewritten": self.rewritten, "objects": self.objects}

    def delete_unreferenced(self, hub: Hub) -> None:
        """Delete every large object that no branch or tag names; call it after the tag has moved."""
        branches, tags = hub.refs()
        named: set[str] = set()
        for commit in {*branches.values(), *tags.values()}:
            named |= {file.sha256 for file in hub.tree(commit).values() if file.sha256 is not None}
        stored = hub.of_repo("listing large files of", lambda *a, **k: list(hub.api.list_lfs_files(*a, **k)))
        gone = [file for file in stored if not named & {file.oid, file.file_oid}]
        if named and len(gone) == len(stored):
            raise CaptionlakeError(
                f"the Hub lists none of the large files of {hub.repo_id} by its hash, so none was deleted: "
                "delete those that were taken down on the repository's page, under Settings, Storage usage"
            )
        if gone:
            hub.of_repo("deleting large files of", hub.api.permanently_delete_lfs_files, gone, rewrite_history=True)
        self.objects = [{"sha256": file.oid, "bytes": file.size, "file": file.filename} for file in gone]


def erase(hub: Hub, home: str, tag: str) -> Erased:
    """Squash ``home``, and each other tag onto a commit of its own content without a past; ``tag`` is the caller's to move.

    Other branches of ours go. A tag that names removed rows in its own content still does: it is to be published again.
    """
    branches, tags = hub.refs()
    erased = Erased(before=tags.get(tag, branches[home]))
    for branch, commit in branches.items():  # a move of a tag that was killed between its two calls
        if (other := branch.removeprefix(_MOVE)) != branch and other not in tags:
            hub.of_repo("tagging", hub.api.create_tag, tag=other, revision=commit, exist_ok=True)
            tags[other] = commit
    for branch in dict.fromkeys((home, "main")):
        hub.of_repo("squashing", hub.api.super_squash_history, branch=branch)
        erased.rewritten.append(branch)
    erased.after = hub.head(home)
    for other, commit in tags.items():
        if other == tag or len(hub.of_repo("reading", hub.api.list_repo_commits, revision=commit)) == 1:
            continue
        work = f"{_MOVE}{other}"
        if work in branches:
            hub.drop("removing a branch of", hub.api.delete_branch, branch=work)
        hub.of_repo("branching", hub.api.create_branch, branch=work, revision=commit, exist_ok=True)
        hub.of_repo("squashing", hub.api.super_squash_history, branch=work)
        squashed = hub.head(work)
        hub.drop("moving a tag of", hub.api.delete_tag, tag=other)
        hub.of_repo("tagging", hub.api.create_tag, tag=other, revision=squashed, exist_ok=True)
        erased.rewritten.append(other)
    for branch in hub.refs()[0]:
        if branch.startswith(_WORK) and branch != home:
            hub.drop("removing a branch of", hub.api.delete_branch, branch=branch)
    return erased
