"""What the hashes of a takedown mean in a lake now, table by table."""

from dataclasses import asdict, dataclass, field
from importlib.resources import files

import duckdb

from captionlake.lake.lake import Lake
from captionlake.lake.takedown.tombstone import KEY_HASH, URL_HASH, Hashes

#: of each table that holds something of a picture, the rows that go: a condition over the temporary tables of ``targets.sql``
DELETED = {
    "images": "image_id IN (FROM gone_pictures) OR (source, source_key) IN (FROM gone_rows)",
    "fetch_failures": "(source, source_key) IN (FROM gone_rows) OR url IN (SELECT url FROM gone_failures)",
    "embeddings": "image_id IN (FROM gone_pictures)",
    "similar_pairs": "image_id IN (FROM gone_pictures) OR other_id IN (FROM gone_pictures)",
    "contamination": "image_id IN (FROM gone_pictures)",
    "captions": "caption_id IN (FROM gone_captions)",
    "caption_flags": "caption_id IN (FROM gone_captions)",
    "caption_checks": "caption_id IN (FROM gone_captions)",
    "caption_words": "caption_id IN (FROM gone_captions)",
    "caption_scores": "caption_id IN (FROM gone_captions)",
    "conversations": "conversation_id IN (FROM gone_conversations)",
    "exclusions": "(source, source_key) IN (FROM gone_rows)",
    "release_captions": '(name, version, "position") IN (FROM gone_positions) OR caption_id IN (FROM gone_captions)',
}
#: and of those that keep the row: what is true of it, and what is set
CHANGED = {
    "release_items": (
        '(name, version, "position") IN (FROM gone_positions)',
        "source = NULL, source_key = NULL, image_id = NULL, conversation_id = NULL",
    ),
    "exclusions": ("(keeper_source, keeper_key) IN (FROM gone_rows)", "keeper_source = NULL, keeper_key = NULL"),
}


@dataclass(slots=True)
class Touched:
    """Rows of each table, pictures, the places of their bytes, and the releases and publications that hold them."""

    tables: dict[str, int] = field(default_factory=dict)
    pictures: int = 0
    n_bytes: int = 0
    shards: list[str] = field(default_factory=list)
    releases: dict[str, int] = field(default_factory=dict)
    publications: list[dict[str, str]] = field(default_factory=list)
    models: list[dict[str, str]] = field(default_factory=list)
    exports: list[dict[str, str]] = field(default_factory=list)

    def to_dict(self) -> dict[str, object]:
        """As JSON has it."""
        return asdict(self)


def list_targets(lake: Lake, connection: duckdb.DuckDBPyConnection, hashes: Hashes) -> None:
    """Make the temporary tables of ``targets.sql``."""
    text = files("captionlake.lake.takedown").joinpath("sql/targets.sql").read_text()
    given = asdict(hashes)
    for statement in text.replace(":key", KEY_HASH).replace(":url", URL_HASH).split(";"):
        if statement.strip():
            connection.execute(statement, {name: value for name, value in given.items() if f"${name}" in statement})


def touched(lake: Lake, hashes: Hashes) -> Touched:
    """Counts of what a takedown would meet now. Changes nothing."""
    list_targets(lake, lake.connection, hashes)
    found = Touched()
    for table, where in DELETED.items():
        found.tables[table] = int(lake.value(f"SELECT count(*) FROM lake.{table} WHERE {where}"))
    for table, (where, _) in CHANGED.items():
        found.tables[table] = found.tables.get(table, 0) + int(
            lake.value(f"SELECT count(*) FROM lake.{table} WHERE {where}")
        )
    found.tables = {table: count for table, count in found.tables.items() if count}
    found.pictures, found.n_bytes = lake.rows(
        "SELECT count(*), coalesce(sum(n_bytes), 0)::BIGINT FROM (SELECT DISTINCT image_id, n_bytes FROM gone_images)"
    )[0]
    found.shards = [shard for (shard,) in lake.rows("SELECT DISTINCT shard FROM gone_images ORDER BY 1")]
    found.releases = dict(
        lake.rows("SELECT name || '@' || version, count(*) FROM gone_positions GROUP BY 1 ORDER BY 1")
    )
    for name, version, repo_id, revision in lake.rows(
        "SELECT DISTINCT name, version, repo_id, revision FROM publications "
        "WHERE (name, version) IN (SELECT (name, version) FROM gone_positions) ORDER BY ALL"
    ):
        found.publications.append({"release": f"{name}@{version}", "repo_id": repo_id, "revision": revision})
    noted = (
        "SELECT DISTINCT target, detail->>'{}' FROM runs WHERE step = '{}' "
        "AND target IN (SELECT name || '@' || version FROM gone_positions) ORDER BY ALL"
    )
    found.models = [
        {"release": label, "checkpoint": path} for label, path in lake.rows(noted.format("output", "train"))
    ]
    found.exports = [{"release": label, "folder": path} for label, path in lake.rows(noted.format("folder", "export"))]
    return found


def delete_rows(connection: duckdb.DuckDBPyConnection) -> None:
    """Within a transaction: take the rows out of every table, and make holes of those of releases."""
    for table, (where, change) in CHANGED.items():
        connection.execute(f"UPDATE lake.{table} SET {change} WHERE {where}")
    for table, where in DELETED.items():
        connection.execute(f"DELETE FROM lake.{table} WHERE {where}")
    connection.execute(
        "UPDATE lake.releases SET state = 'redacted' WHERE (name, version) IN (SELECT (name, version) FROM gone_positions)"
    )
    # Keys and URLs that a run wrote down, where one stands as a whole text.
    for name in ("detail", "counts"):
        texts = "SELECT source_key AS text FROM gone_rows UNION SELECT url FROM gone_images UNION SELECT url FROM gone_failures"
        rows = connection.execute(
            f"SELECT run_id, {name}::VARCHAR, text FROM lake.runs, ({texts}) "
            f"WHERE text IS NOT NULL AND contains({name}::VARCHAR, to_json(text)::VARCHAR)"
        ).fetchall()
        for run_id, _, text in rows:
            connection.execute(
                f"UPDATE lake.runs SET {name} = replace({name}::VARCHAR, to_json($text::VARCHAR)::VARCHAR, '\"taken down\"')::JSON "
                "WHERE run_id = $run_id",
                {"text": text, "run_id": run_id},
            )
