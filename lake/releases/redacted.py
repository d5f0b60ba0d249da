"""Rows of a release whose picture was taken down: of each, its position and its hash are left, and its split."""

from captionlake.lake.lake import Lake
from captionlake.lake.releases.release import Release

#: SQL over ``release_items``: the row is such a hole
IS_REDACTED = "source IS NULL AND image_id IS NULL AND conversation_id IS NULL"


def redacted_rows(lake: Lake, release: Release) -> list[tuple[int, str]]:
    """(position, row_sha256) of each, in order."""
    return lake.rows(
        f'SELECT "position", row_sha256 FROM release_items WHERE name = ? AND version = ? AND {IS_REDACTED} ORDER BY 1',
        [release.name, release.version],
    )
