"""A takedown that is killed at any moment is finished by the next."""

import random
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

from captionlake.lake import Lake
from captionlake.lake.takedown.scan import scan
from captionlake.lake.takedown.tombstone import tombstones

from ...killed import Commands

KILLS = 4


def test_nothing_is_left_of_it(tmp_path: Path, tile_folder: Callable[[int], Path]) -> None:
    chance = random.Random(20261127)
    kills = 0
    modules = ["captionlake.lake.takedown.removal", "captionlake.lake.maintenance"]
    with Commands(tmp_path, modules, {}) as commands:
        whole = tmp_path / "whole"
        commands.run("init", whole)
        commands.run("ingest", "folder", tile_folder(6), "--lake", whole)
        asked = ("takedown", "--source-key", "folder:00003.jpg", "--reason", "asked", "--yes")
        learned = tmp_path / "learned"
        shutil.copytree(whole, learned)
        commands.learn(*asked, "--lake", learned)
        while kills < KILLS:
            lake = tmp_path / f"lake-{uuid.uuid4().hex}"
            shutil.copytree(whole, lake)
            if commands.run(*asked, "--lake", lake, at=commands.moment(chance)):
                continue
            kills += 1
            with Lake.open(lake) as opened:
                begun = bool(tombstones(opened))
            assert commands.run("takedown", "--resume", "--lake", lake)
            if not begun:  # killed before the first commit: nothing was promised
                assert commands.run(*asked, "--lake", lake)
            with Lake.open(lake) as opened:
                (one,) = tombstones(opened)
                assert one.is_done and scan(opened, one.hashes).left == []
                assert opened.value("SELECT count(*) FROM images") == 5
            shutil.rmtree(lake)
