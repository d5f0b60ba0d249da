"""Files onto a branch, and the proof that they are there.

Large files go up before any commit names them, so a reader sees them with the commit or not at all. Every commit names its
parent: the Hub refuses it (412) where somebody else has pushed meanwhile.
"""

import hashlib
import time

from captionlake.cards.publishing.hub import Hub, HubError, pause
from captionlake.cards.publishing.plan import LocalFile, Plan, difference
from captionlake.cards.publishing.staging import MARK
from captionlake.errors import CaptionlakeError

_AT_ONCE = 50  # files of one upload or commit on the work branch
_ATTEMPTS = 6


def upload(hub: Hub, branch: str, files: list[LocalFile], message: str) -> Plan:
    """Bring the work branch to ``files``, some at a time. Returns what differed. A killed one goes on where it was."""
    whole = difference(files, hub.tree(branch))
    for start in range(0, len(whole.new), _AT_ONCE):
        part = whole.new[start : start + _AT_ONCE]
        commit(hub, branch, part, [], message)
    for start in range(0, len(whole.gone), _AT_ONCE):
        commit(hub, branch, [], whole.gone[start : start + _AT_ONCE], message)
    return whole


def bring(hub: Hub, branch: str, files: list[LocalFile], parent: str, message: str, source: str) -> str:
    """Bring a branch that stands at ``parent`` to ``files``, which commit ``source`` has, in one commit. Returns its head."""
    plan = difference(files, hub.tree(parent))
    if plan.empty:
        return parent
    return commit(hub, branch, plan.new, plan.gone, message, parent=parent, source=source)


def commit(
    hub: Hub,
    branch: str,
    new: list[LocalFile],
    gone: list[str],
    message: str,
    *,
    parent: str | None = None,
    source: str | None = None,
) -> str:
    """One commit, repeated until it is known to be there. Returns the new head.

    ``parent``: the only head it may stand on. ``source``: a commit that has the files; nothing is read here or sent again.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete

    additions = [] if source else [CommitOperationAdd(file.path, str(file.source)) for file in new]
    copies = [CommitOperationCopy(file.path, file.path, src_revision=source) for file in new] if source else []
    removals = [CommitOperationDelete(path, is_folder=False) for path in gone]
    for attempt in range(1, _ATTEMPTS + 1):
        head = hub.head(branch)
        there = hub.tree(head)
        if all(file.is_(there.get(file.path)) for file in new) and not any(path in there for path in gone):
            return head  # the commit of an attempt whose answer was lost
        if parent is not None and head != parent:
            raise CaptionlakeError(
                f"somebody else has pushed to {branch} of {hub.repo_id} (it stood at {parent[:12]}, now {head[:12]}): "
                "look at what came, and run the same command again"
            )
        try:
            for start in range(0, len(additions), _AT_ONCE):
                some = additions[start : start + _AT_ONCE]
                hub.of_repo(
                    "uploading to", hub.api.preupload_lfs_files, some, revision=branch, free_memory=False, attempts=1
                )
            made = hub.of_repo(
                "committing to",
                hub.api.create_commit,
                [*additions, *copies, *(one for one in removals if one.path_in_repo in there)],
                commit_message=message,
                revision=branch,
                parent_commit=head,
                attempts=1,
            )
            return str(made.oid)
        except HubError as error:
            if attempt == _ATTEMPTS or not (error.passes or (error.status == 412 and parent is None)):
                raise
            time.sleep(pause(error, attempt))
    raise AssertionError("unreachable")


def verify_listing(hub: Hub, revision: str, files: list[LocalFile]) -> None:
    """Every file's size and hash as the Hub lists them."""
    plan = difference(files, hub.tree(revision))
    if not plan.empty:
        wrong = [file.path for file in plan.new] + plan.gone
        raise CaptionlakeError(
            f"{hub.repo_id} at {revision} is not what was sent, first {wrong[0]} of {len(wrong)} files: "
            "run the same command again"
        )


def verify(hub: Hub, revision: str, files: list[LocalFile]) -> None:
    """Read a revision back: the listing, the small files' bytes, and the footer of a Parquet file."""
    verify_listing(hub, revision, files)
    named = {file.path: file for file in files}
    for path in ("README.md", MARK, "facts.json", "config.json"):
        if path in named and hashlib.sha256(hub.read(path, revision)).hexdigest() != named[path].sha256:
            raise CaptionlakeError(f"{path} of {hub.repo_id} reads back with other bytes: run the same command again")
    parquet = min((file for file in files if file.path.endswith(".parquet")), key=lambda f: f.size, default=None)
    if parquet is not None:
        hub.call("reading a footer of", _check_footer, hub, revision, parquet)


def _check_footer(hub: Hub, revision: str, file: LocalFile) -> None:
    import pyarrow.parquet as pq
    from huggingface_hub import HfFileSystem

    system = HfFileSystem(endpoint=hub.endpoint, token=hub.token, skip_instance_cache=True, use_listings_cache=False)
    kind = "datasets/" if hub.repo_type == "dataset" else ""
    with system.open(f"{kind}{hub.repo_id}@{revision}/{file.path}", "rb") as remote:
        there = pq.read_metadata(remote)
    if not there.equals(pq.read_metadata(file.source)):
        raise CaptionlakeError(f"the footer of {file.path} in {hub.repo_id} is another one: run the same command again")
