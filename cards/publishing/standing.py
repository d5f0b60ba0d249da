"""What stands in a repository before anything is sent: whether we may write there, whose content it is, which versions it has."""

import json
from dataclasses import dataclass, field
from typing import Any

from captionlake.cards.publishing.hub import Hub, HubError
from captionlake.cards.publishing.plan import KEPT
from captionlake.cards.publishing.staging import MARK

_IDENTITY = ("kind", "name", "version", "content_sha256")
_NO_TOKEN = "no token: run  hf auth login,  or set HF_TOKEN to a token that may write"


@dataclass(slots=True)
class Standing:
    """``head`` of main, None without a repository; ``mark`` of main's content, ``tagged`` of the version's tag; ``problems`` forbid it.

    ``looked``: False of a dry run without a token, which asks the Hub nothing.
    """

    looked: bool = True
    head: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    mark: dict[str, Any] | None = None
    tagged: dict[str, Any] | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def exists(self) -> bool:
        """Whether there is a repository."""
        return self.head is not None


def may_write(hub: Hub) -> list[str]:
    """What is wrong with the token, for this repository's owner."""
    if hub.token is None:
        return [_NO_TOKEN]
    try:
        me = hub.call("asking who may write to", hub.api.whoami)
    except HubError as error:
        return [str(error)]
    found = []
    access = me.get("auth", {}).get("accessToken", {})
    fine = access.get("fineGrained") or {}
    rights = {right for scope in fine.get("scoped", []) for right in scope.get("permissions", [])}
    if access.get("role") == "read" or (access.get("role") == "fineGrained" and "repo.write" not in rights):
        found.append("the token may only read: make one that may write and set HF_TOKEN, or run  hf auth login")
    owner = hub.repo_id.split("/")[0]
    names = {str(one.get("name")).lower(): one.get("roleInOrg") for one in (me, *me.get("orgs", []))}
    if owner.lower() not in names:
        found.append(f"the token is not {owner}'s, nor of a member of {owner}: use another, or another OWNER/NAME")
    elif names[owner.lower()] == "read":
        found.append(f"the token's owner may only read in {owner}: ask an admin of {owner} for the right to write")
    return found


def look(hub: Hub, tag: str, mark: dict[str, Any], *, dry_run: bool = False) -> Standing:
    """What is there, and every reason why ``mark``'s content may not come there as ``tag``."""
    if dry_run and hub.token is None:
        return Standing(looked=False)
    there = Standing(problems=may_write(hub))
    if there.problems or not hub.exists():
        return there
    there.branches, there.tags = hub.refs()
    there.head = there.branches.get("main")
    if there.head is None:
        there.problems.append(f"{hub.repo_id} has no branch main: make one, or name another repository")
        return there
    there.mark = read_mark(hub, there.head)
    if there.mark is None and set(hub.tree(there.head)) - KEPT:
        there.problems.append(
            f"{hub.repo_id} holds files that captionlake did not publish: name another repository, or empty it first"
        )
    elif there.mark is not None and (there.mark.get("kind"), there.mark.get("name")) != (mark["kind"], mark["name"]):
        there.problems.append(
            f"{hub.repo_id} holds {there.mark.get('name')!r}, not {mark['name']!r}: name another repository"
        )
    if tag in there.tags:
        there.tagged = read_mark(hub, there.tags[tag])
        if not replaces(mark, there.tagged):
            there.problems.append(
                f"{tag} of {hub.repo_id} is there with other content: a version never changes, release a new one"
            )
    return there


def same_content(mark: dict[str, Any], other: dict[str, Any] | None) -> bool:
    """Whether two marks are of one version with one content, and the same rows taken down."""
    return other is not None and all(mark.get(key, 0) == other.get(key, 0) for key in (*_IDENTITY, "redacted"))


def replaces(mark: dict[str, Any], tagged: dict[str, Any] | None) -> bool:
    """Whether content may take a tag: the same, or the same version with more rows taken down."""
    if tagged is None or any(mark.get(key) != tagged.get(key) for key in _IDENTITY):
        return False
    return int(mark.get("redacted", 0)) >= int(tagged.get("redacted", 0))


def read_mark(hub: Hub, revision: str) -> dict[str, Any] | None:
    """The ``MARK`` of a revision; None where there is none, or it is not ours."""
    try:
        found = json.loads(hub.read(MARK, revision))
    except HubError as error:
        if error.status == 404:
            return None
        raise
    except ValueError:
        return None
    return found if isinstance(found, dict) and found.get("format") == 1 else None
