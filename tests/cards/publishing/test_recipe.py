"""``[publish]`` of a recipe: the last step of a run, done once, and refused before the first where the token will not do."""

from collections.abc import Callable
from pathlib import Path

from .client import READER, Client
from .hub_server import HubServer

RECIPE = """
lake = "lake"

[[ingest]]
source = "folder"
inputs = ["tiles"]
collection = "tiles"
license = "CC0-1.0"
redistribute = "bytes"

[caption]
captioner = "source"

[release]
name = "tiles"
version = "0.1.0"

[publish]
repo_id = "organisation/tiles"
private = true
gated = "auto"
"""


def test_the_last_step_of_a_run(
    hub: HubServer, client: Client, tmp_path: Path, tile_folder: Callable[[int], Path]
) -> None:
    tile_folder(6)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)
    assert "may only read" in client.run("run", recipe, token=READER).stderr
    assert not (tmp_path / "lake").exists() and not hub.repos, "it is told before the work, not after"
    first = client.run("run", recipe, "--until", "release", "--json", token=None).json
    assert first["steps"][-1]["step"] == "release" and not hub.repos

    done = client.run("run", recipe, "--json").json
    repo = hub.repos["datasets/organisation/tiles"]
    assert done["url"] == f"{hub.url}/datasets/organisation/tiles"
    assert done["steps"][-1]["step"] == "publish" and done["steps"][-1]["said"].startswith("published: ")
    assert done["steps"][-1]["counts"]["revision"] == repo.branches["main"] == repo.tags["v0.1.0"]
    assert repo.private and repo.gated == "auto" and "data/train-00000-of-00001.parquet" in repo.files("main")
    before = list(hub.repos["datasets/organisation/tiles"].commits)
    again = client.run("run", recipe, "--json").json
    assert again["steps"][-1]["said"].startswith("already published: ")
    assert list(repo.commits) == before
