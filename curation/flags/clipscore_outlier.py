"""``clipscore_outlier``: text and picture go together far less well than is usual for the producer and the collection.

The modified z-score of Iglewicz and Hoaglin (How to Detect and Handle Outliers, 1993): 0.6745 (x - median) / MAD, which a few bad
scores do not move; their 3.5 is the default. Each model's scores stand for themselves. Groups of fewer than 30 captions have none.
"""

from importlib.resources import files

import duckdb

from captionlake.curation.flags.config import FlagConfig
from captionlake.curation.flags.flag import Flag
from captionlake.lake import Lake

FEWEST = 30  # captions of a group


def flag_outliers(lake: Lake, config: FlagConfig, whose: str) -> int:
    """Let the flag stand for what today's scores say, of the captions for which the condition ``whose`` holds. Returns how many have it.

    A caption is compared with all of its producer and collection; what stands as it should is not written again.
    """
    query = files("captionlake.curation").joinpath("sql/clipscore_outliers.sql").read_text()
    parameters = {"z": config.clipscore_z, "fewest": FEWEST}
    flag = str(Flag.CLIPSCORE_OUTLIER)
    table = lake.arrow(query.replace("$whose", whose), parameters)

    def change(connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute(
            f"DELETE FROM lake.caption_flags WHERE flag = ? AND caption_id IN (SELECT caption_id FROM lake.captions WHERE {whose}) "
            "AND (caption_id, detail) NOT IN (SELECT (caption_id, detail) FROM _outliers)",
            [flag],
        )
        connection.execute(
            "INSERT INTO lake.caption_flags BY NAME SELECT caption_id, ? AS flag, detail FROM _outliers "
            "WHERE caption_id IN (SELECT caption_id FROM lake.captions) "
            "AND caption_id NOT IN (SELECT caption_id FROM lake.caption_flags WHERE flag = ?)",
            [flag, flag],
        )

    stored = f"SELECT caption_id, detail FROM caption_flags SEMI JOIN captions USING (caption_id) WHERE flag = '{flag}'"
    stored += f" AND caption_id IN (SELECT caption_id FROM captions WHERE {whose})"
    wanted = {(row["caption_id"], row["detail"]) for row in table.to_pylist()}
    if set(lake.rows(stored)) != wanted:
        lake.commit(change, _outliers=table)
    return int(table.num_rows)
