"""The lake through a release's eyes and at a snapshot; names that are none."""

from collections.abc import Iterator
from typing import Any

import duckdb
import pytest

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.query_child import open_read_only
from captionlake.lake.releases.names import parse_release
from captionlake.lake.releases.views import create_release_views, create_snapshot_views, drop_views


@pytest.fixture
def connection(sql_lake: Any) -> Iterator[duckdb.DuckDBPyConnection]:
    connection = open_read_only(sql_lake.path)
    yield connection
    connection.close()


def columns(connection: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    return [row[0] for row in connection.execute(f"DESCRIBE {table}").fetchall()]


def test_items_are_the_releases_rows_with_all_of_images(connection: duckdb.DuckDBPyConnection) -> None:
    create_release_views(connection, "demo", "1.0.0")
    assert columns(connection, "items") == ["position", "split", "row_sha256", *columns(connection, "lake.images")]
    rows = connection.execute(
        "SELECT position, split, row_sha256, source_key, width FROM items ORDER BY position"
    ).fetchall()
    assert rows == [(n, "train", f"hash of {n:03d}", f"{n:03d}", 64 + n) for n in range(10)]


def test_captions_are_the_releases_alone(connection: duckdb.DuckDBPyConnection) -> None:
    create_release_views(connection, "demo", "1.0.0")
    assert columns(connection, "captions") == ["position", "ordinal", "role", *columns(connection, "lake.captions")]
    rows = connection.execute("SELECT position, ordinal, role, caption_id, text FROM captions ORDER BY ALL").fetchall()
    assert rows == [(n, 0, "caption", f"c{n:03d}", f"Tile {n} of a photograph, in words.") for n in range(10)]


def test_items_and_exclusions_are_all_images_of_the_snapshot(connection: duckdb.DuckDBPyConnection) -> None:
    create_release_views(connection, "demo", "1.0.0")
    keys = "SELECT source, source_key FROM"
    assert connection.execute(
        f"SELECT count(*) FROM ({keys} images EXCEPT ({keys} items UNION {keys} exclusions))"
    ).fetchall() == [(0,)]
    counts = "(SELECT count(*) FROM images), (SELECT count(*) FROM exclusions), (SELECT count(*) FROM lake.images)"
    assert connection.execute(f"SELECT {counts}").fetchall() == [(24, 14, 28)]


def test_the_release_tables_are_read_as_they_are_now(connection: duckdb.DuckDBPyConnection) -> None:
    create_release_views(connection, "demo", "1.0.0")
    assert connection.execute("SELECT count(*) FROM release_items").fetchall() == [(10,)]
    assert connection.execute("SELECT name, version FROM releases").fetchall() == [("demo", "1.0.0")]


def test_a_snapshots_tables(connection: duckdb.DuckDBPyConnection, sql_lake: Any) -> None:
    views = create_snapshot_views(connection, sql_lake.pinned)
    assert {"images", "captions", "releases", "runs"} <= set(views)
    assert connection.execute("SELECT count(*) FROM images").fetchall() == [(24,)]
    assert connection.execute("SELECT count(*) FROM releases").fetchall() == [(0,)]
    create_snapshot_views(connection, 1)  # views of another snapshot take their place
    assert connection.execute("SELECT count(*) FROM images").fetchall() == [(0,)]
    drop_views(connection, views)
    assert connection.execute("SELECT count(*) FROM images").fetchall() == [(28,)]


def test_views_of_a_release_can_be_dropped(connection: duckdb.DuckDBPyConnection) -> None:
    drop_views(connection, create_release_views(connection, "demo", "1.0.0"))
    assert connection.execute("SELECT count(*) FROM captions").fetchall() == [(28,)]
    with pytest.raises(duckdb.CatalogException):
        connection.execute("SELECT * FROM items")


@pytest.mark.parametrize("snapshot", [-1, 0, 1_000_000])
def test_an_unknown_snapshot_names_the_range(snapshot: int, connection: duckdb.DuckDBPyConnection) -> None:
    last = connection.execute("SELECT id FROM ducklake_current_snapshot('lake')").fetchall()[0][0]
    with pytest.raises(CaptionlakeError, match=rf"from 1 to {last}$"):
        create_snapshot_views(connection, snapshot)


@pytest.mark.parametrize(("name", "version"), [("demo", "2.0.0"), ("other", "1.0.0"), ("de'mo", "1.0.0' OR true --")])
def test_an_unknown_release_names_the_known(name: str, version: str, connection: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(CaptionlakeError, match=r"there are demo@1\.0\.0"):
        create_release_views(connection, name, version)


def test_a_lake_without_releases_says_so(lake: Lake) -> None:
    with pytest.raises(CaptionlakeError, match="no release yet"):
        create_release_views(lake.connection, "demo", "1.0.0")


def test_a_releases_name() -> None:
    assert parse_release(" sharegpt4v@1.0.0 ") == ("sharegpt4v", "1.0.0")
    for text in ("", "demo", "demo@", "@1", "a@b@c", "a b@1", "demo@1 0"):
        with pytest.raises(CaptionlakeError, match="NAME@VERSION"):
            parse_release(text)
