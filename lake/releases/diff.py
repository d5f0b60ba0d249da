"""Two releases compared, row by row: what came, what went and why, what is told otherwise."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files

import duckdb

from captionlake.errors import CaptionlakeError
from captionlake.lake.catalog import first_line
from captionlake.lake.lake import Lake
from captionlake.lake.releases.release import Release, find_release
from captionlake.lake.releases.semver import parent_version
from captionlake.lake.sft.paths import PART


class Outcome(StrEnum):
    """What became of a row. ``recaptioned``: other captions, perhaps another split too; ``changed``: another split or picture alone."""

    ADDED = "added"
    REMOVED = "removed"
    RECAPTIONED = "recaptioned"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, kw_only=True, slots=True)
class Diff:
    """The rows of ``before`` and ``after``, counted.

    ``items_before`` is removed, recaptioned, changed and unchanged rows with ``redacted_before``, of pictures that were taken
    down; ``items_after`` likewise with those added. ``same_content``: the same rows in the same order. ``collections``: counts
    by collection, of conversations by part of the mix. ``added_by`` and ``removed_by``: why the other release has not the row, a
    reason of its exclusions, or ``taken_down``, ``no_longer_in_lake``, ``new_in_lake``. ``moved``: of the changed rows, by
    "split -> split".
    """

    before: str
    after: str
    kind: str
    same_content: bool
    items_before: int
    items_after: int
    redacted_before: int
    redacted_after: int
    counts: dict[str, int]
    collections: dict[str, dict[str, int]]
    added_by: dict[str, int]
    removed_by: dict[str, int]
    moved: dict[str, int]


def pair_to_compare(lake: Lake, first: str, second: str | None) -> tuple[Release, Release]:
    """The releases named, in that order; of one alone, its parent and itself. Raises where they are not of one kind."""
    if second is None:
        after = find_release(lake, first)
        before = find_release(lake, _parent(lake, after))
    else:
        before, after = find_release(lake, first), find_release(lake, second)
    if before.kind != after.kind:
        raise CaptionlakeError(
            f"{before.label} is a release of kind {before.kind}, {after.label} of kind {after.kind}: compare two of one kind"
        )
    return before, after


def _parent(lake: Lake, release: Release) -> str:
    """The one recorded; of a release that an earlier captionlake made, the one that would be."""
    if release.parent is not None:
        return release.parent
    rows = lake.rows(
        "SELECT version FROM releases WHERE name = ? AND kind = ? AND created_at < ?",
        [release.name, release.kind, release.created_at],
    )
    parent = parent_version(release.version, [version for (version,) in rows])
    if parent is None:
        raise CaptionlakeError(
            f"{release.label} has no parent to compare it with: name two, as  captionlake release diff A B"
        )
    return f"{release.name}@{parent}"


@contextmanager
def compared(lake: Lake, before: Release, after: Release) -> Iterator[Diff]:
    """The comparison. Inside the ``with`` the table ``release_diff`` has a row for each of its rows."""
    name = "diff_sft" if after.kind == "sft" else "diff_images"
    query = files("captionlake.lake.releases").joinpath(f"sql/{name}.sql").read_text()
    query = query.replace(":a", str(before.snapshot_id)).replace(":b", str(after.snapshot_id)).replace(":part", PART)
    sides = {
        "a": {"name": before.name, "version": before.version},
        "b": {"name": after.name, "version": after.version},
    }
    try:
        lake.connection.execute(query, sides)
    except duckdb.Error as error:
        raise CaptionlakeError(
            f"{before.label} and {after.label} cannot be compared ({first_line(error)}): look at each with  captionlake release verify"
        ) from error
    try:
        yield _counted(lake, before, after)
    finally:
        lake.connection.execute("DROP TABLE release_diff")


def diff_releases(lake: Lake, before: Release, after: Release) -> Diff:
    """What changed from one release to another."""
    with compared(lake, before, after) as found:
        return found


def _counted(lake: Lake, before: Release, after: Release) -> Diff:
    collections: dict[str, dict[str, int]] = {}
    for collection, outcome, n in lake.rows(
        "SELECT collection, outcome, count(*) FROM release_diff GROUP BY ALL ORDER BY ALL"
    ):
        collections.setdefault(collection, dict.fromkeys(Outcome, 0))[Outcome(outcome)] = n
    counts = {str(one): sum(found[one] for found in collections.values()) for one in Outcome}
    by_reason = "SELECT reason, count(*) FROM release_diff WHERE outcome = ? AND reason IS NOT NULL GROUP BY ALL ORDER BY 2 DESC, 1"
    moved = (
        "SELECT a_split || ' -> ' || b_split, count(*) FROM release_diff WHERE outcome = 'changed' AND a_split <> b_split "
        "GROUP BY ALL ORDER BY ALL"
    )
    return Diff(
        before=before.label,
        after=after.label,
        kind=after.kind,
        same_content=before.content_sha256 == after.content_sha256,
        items_before=before.n_items,
        items_after=after.n_items,
        redacted_before=_redacted(lake, before),
        redacted_after=_redacted(lake, after),
        counts=counts,
        collections={name: {str(one): n for one, n in found.items()} for name, found in collections.items()},
        added_by=dict(lake.rows(by_reason, ["added"])),
        removed_by=dict(lake.rows(by_reason, ["removed"])),
        moved=dict(lake.rows(moved)),
    )


def _redacted(lake: Lake, release: Release) -> int:
    """Rows of pictures that were taken down."""
    return int(
        lake.value(
            "SELECT count(*) FROM release_items WHERE name = ? AND version = ? AND source IS NULL AND conversation_id IS NULL",
            [release.name, release.version],
        )
    )
