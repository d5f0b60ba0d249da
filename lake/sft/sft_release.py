"""Releases of kind ``sft``: conversations in an order, under a name and a version, with a hash over what they say."""

from dataclasses import dataclass
from importlib.resources import files

import pyarrow as pa

from captionlake.errors import CaptionlakeError
from captionlake.lake.lake import Lake
from captionlake.lake.releases.config import ReleaseConfig
from captionlake.lake.releases.content import ContentHash, fetched
from captionlake.lake.releases.release import Release, release_row_of, write_release
from captionlake.lake.releases.splits import split_sql
from captionlake.lake.sft.importing import MEMORY


@dataclass(frozen=True, kw_only=True, slots=True)
class SftDraft:
    """What a release is to hold: ``items`` has position (from 0) and conversation_id; ``snapshot`` has all of them."""

    config: ReleaseConfig
    recipe: str
    snapshot: int
    items: pa.Table


def create_sft_release(lake: Lake, draft: SftDraft) -> tuple[Release, bool]:
    """Write a release, all of it in one transaction. Returns it, and whether it is new.

    The same content under the same name and version is the release that is there already; other content is refused.
    """
    query = files("captionlake.lake").joinpath("sql/sft_items.sql").read_text()
    with lake.memory_limit(2 * MEMORY):
        with lake.registered(_chosen=draft.items):
            split = split_sql("key", draft.config.splits)
            lake.connection.execute(query.replace(":snapshot", str(draft.snapshot)).replace(":split", split))
        wrong = lake.value(
            "SELECT count(*) FROM sft_items WHERE row_sha256 IS NULL OR conversation_id IN "
            "(SELECT conversation_id FROM sft_items GROUP BY 1 HAVING count(*) > 1)"
        )
        if wrong:
            raise CaptionlakeError(
                f"{wrong:,} conversations of the release stand twice or are no longer in the lake: run this again"
            )
        content = ContentHash()
        rows = lake.connection.execute("SELECT row_sha256 FROM sft_items ORDER BY position")
        for (digest,) in fetched(rows):
            content.add_digest(digest)
        header = release_row_of(
            draft.config,
            kind="sft",
            recipe=draft.recipe,
            snapshot=draft.snapshot,
            content=content.hexdigest(),
            n_items=draft.items.num_rows,
        )
        done = write_release(lake, header, {"release_items": "FROM sft_items ORDER BY position"})
        lake.connection.execute("DROP TABLE sft_items")
    return done
