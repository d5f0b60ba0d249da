"""A release of conversations is published, with the pictures that may be passed on, and loads from there."""

import json
from pathlib import Path

from .client import Client
from .hub_server import HubServer

MIX = """lake = "lake"
[mix]
base = "base.json"
[release]
name = "talk"
version = "1.0.0"
"""
LOADED = """
import json
from datasets import load_dataset
rows = load_dataset("someone/talk", revision="v1.0.0", split="train")
print(json.dumps([[turn["value"] for turn in row["conversations"]] for row in rows]))
"""


def test_conversations_are_published_and_load(hub: HubServer, client: Client, lake: Path) -> None:
    turns = [{"from": "human", "value": "Write a haiku."}, {"from": "gpt", "value": "Frogs."}]
    (lake.parent / "base.json").write_text(json.dumps([{"id": "1", "conversations": turns}]))
    (lake.parent / "mix.toml").write_text(MIX)
    client.run("mix", lake.parent / "mix.toml", "--json")
    done = client.run("publish", "talk@1.0.0", "someone/talk", "--lake", lake, "--json").json
    repo = hub.repos["datasets/someone/talk"]
    assert done["state"] == "published" and repo.tags["v1.0.0"] == repo.branches["main"]
    assert b"**1 conversation**" in repo.files("main")["README.md"].data
    assert client.run(code=LOADED).json == [["Write a haiku.", "Frogs."]]
