"""A Hub of the tests' own, a process that publishes to it, and a lake with a release whose hashes are those of its content."""

import shutil
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import duckdb
import pytest

from captionlake.cards.publishing.staging import held, stage
from captionlake.lake import Lake
from captionlake.lake.releases.content import ContentHash, with_texts
from captionlake.lake.releases.release import find_release

from .client import Client
from .hub_server import HubServer


@pytest.fixture(scope="session")
def _server() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


@pytest.fixture(scope="session")
def _client(_server: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    made = Client(tmp_path_factory.mktemp("client"), _server.url)
    yield made
    made.close()


@pytest.fixture
def hub(_server: HubServer) -> HubServer:
    """A Hub without repositories."""
    _server.reset()
    return _server


@pytest.fixture
def client(_client: Client, hub: HubServer) -> Client:
    """Publishes to ``hub``."""
    return _client


def seal(lake: Lake, label: str) -> None:
    """Give a release written by hand the hashes that follow from its content."""
    release, content = find_release(lake, label), ContentHash()
    query = files("captionlake.lake.releases").joinpath("sql/verify_rows.sql").read_text()
    rows = lake.connection.cursor().execute(query, {"name": release.name, "version": release.version})
    found = [
        (content.add(source, key, image_id, split, texts), position)
        for position, source, key, image_id, split, _, texts in with_texts(rows, 6)
    ]

    def change(connection: duckdb.DuckDBPyConnection) -> None:
        key = [release.name, release.version]
        for digest, position in found:
            connection.execute(
                "UPDATE release_items SET row_sha256 = ? WHERE position = ? AND name = ? AND version = ?",
                [digest, position, *key],
            )
        connection.execute(
            "UPDATE releases SET content_sha256 = ? WHERE name = ? AND version = ?", [content.hexdigest(), *key]
        )

    lake.commit(change)


@pytest.fixture(scope="session")
def sealed_lake(plain_lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with the release small@1.0.0; tests read it only."""
    path = Path(shutil.copytree(plain_lake, tmp_path_factory.mktemp("sealed") / "lake"))
    with Lake.open(path) as opened:
        seal(opened, "small@1.0.0")
    return path


@pytest.fixture(scope="session")
def _ready_lake(sealed_lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = Path(shutil.copytree(sealed_lake, tmp_path_factory.mktemp("ready") / "lake"))
    with Lake.open(path) as opened, held(opened, "small@1.0.0"):
        stage(opened, find_release(opened, "small@1.0.0"), "someone/small")
    return path


@pytest.fixture
def lake(sealed_lake: Path, tmp_path: Path) -> Path:
    """One of its own, of which nothing was laid ready to publish."""
    return Path(shutil.copytree(sealed_lake, tmp_path / "lake"))


@pytest.fixture
def ready_lake(_ready_lake: Path, tmp_path: Path) -> Path:
    """One of its own, whose release was exported by a publish that was killed after it."""
    return Path(shutil.copytree(_ready_lake, tmp_path / "lake"))
