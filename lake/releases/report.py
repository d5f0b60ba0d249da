"""What a release holds and what was left out of it, as counts."""

from captionlake.lake.lake import Lake
from captionlake.lake.releases.release import Release
from captionlake.lake.sft.paths import PART


def composition(lake: Lake, release: Release) -> list[tuple[str, str | None, int, int]]:
    """(collection, subset, items, captions) of a release, by collection and subset."""
    return lake.rows(
        "SELECT i.collection, i.subset, count(*), sum(coalesce(c.n, 0))::BIGINT FROM release_items r "
        f"JOIN images i AT (VERSION => {release.snapshot_id:d}) USING (source, source_key) "
        "LEFT JOIN (SELECT position, count(*) AS n FROM release_captions WHERE name = $name AND version = $version GROUP BY 1) c "
        "USING (position) WHERE r.name = $name AND r.version = $version GROUP BY ALL ORDER BY ALL",
        {"name": release.name, "version": release.version},
    )


def excluded(lake: Lake, release: Release) -> list[tuple[str, str, int]]:
    """(collection, reason, images) left out of a release."""
    return lake.rows(
        "SELECT i.collection, e.reason, count(*) FROM exclusions e "
        f"JOIN images i AT (VERSION => {release.snapshot_id:d}) USING (source, source_key) "
        "WHERE e.name = $name AND e.version = $version GROUP BY ALL ORDER BY ALL",
        {"name": release.name, "version": release.version},
    )


def parts(lake: Lake, release: Release) -> list[tuple[str, int, int, int]]:
    """(part, items, of these with a picture in the lake, of these made of captions) of a release of conversations."""
    return lake.rows(
        f"SELECT {PART}, count(*), count(r.image_id), count(c.caption_id) FROM release_items r "
        f"JOIN conversations c AT (VERSION => {release.snapshot_id:d}) USING (conversation_id) "
        "WHERE r.name = $name AND r.version = $version GROUP BY ALL ORDER BY ALL",
        {"name": release.name, "version": release.version},
    )


def splits(lake: Lake, release: Release) -> dict[str, int]:
    """Items of each split."""
    return dict(
        lake.rows(
            "SELECT split, count(*) FROM release_items WHERE name = ? AND version = ? GROUP BY ALL ORDER BY 2 DESC, 1",
            [release.name, release.version],
        )
    )
