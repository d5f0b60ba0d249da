"""The restore drill of docs/operations.md: a backup while an ingest runs, the lake destroyed, restored, its releases verified."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from click.testing import CliRunner

from captionlake.cli import captionlake
from captionlake.lake import Lake
from captionlake.lake.releases.verification import verify_release

from ..killed import sound, wait_for

RECIPE = 'lake = "lake"\n[caption]\ncaptioner = "source"\n[release]\nname = "tiles"\nversion = "1.0.0"\n'
SLOW = "import captionlake.lake.ingest_job as job, captionlake.cli as cli; job.PICTURES_PER_SHARD = 5; cli.main()"


def run(*arguments: object) -> str:
    done = CliRunner().invoke(captionlake, [str(argument) for argument in arguments], standalone_mode=False)
    assert done.exit_code == 0, done.output + str(done.exception)
    return done.output.strip()


def test_a_backup_beside_an_ingest_restores_a_whole_lake(
    tmp_path: Path, tile_folder: Callable[[int], Path], tiles: Callable[[int], list[bytes]]
) -> None:
    lake, copy = tmp_path / "lake", tmp_path / "backup.tar"
    more = tmp_path / "more"
    more.mkdir()
    for number, data in enumerate(tiles(120)[20:]):
        (more / f"{number:03d}.jpg").write_bytes(data)
    run("init", lake)
    run("ingest", "folder", tile_folder(20), "--lake", lake)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    run("release", "create", tmp_path / "recipe.toml")
    command = [sys.executable, "-c", SLOW, "ingest", "folder", str(more), "--collection", "more", "--lake", str(lake)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as ingest:
        with Lake.open(lake) as opened:
            assert wait_for(lambda: opened.value("SELECT count(*) FROM images") > 20, 60)
        backup = Path(run("backup", "--lake", lake))
        files = ["tar", "-C", str(lake), "--exclude=./catalog.sqlite*", "--exclude=./staging/*", "-cf", str(copy), "."]
        assert subprocess.run(files, stderr=subprocess.DEVNULL).returncode in (0, 1)  # 1: a file was added meanwhile
        ingest.wait()
    shutil.rmtree(lake)
    lake.mkdir()
    subprocess.run(["tar", "-C", lake, "-xf", copy], check=True)
    run("restore", lake / "backups" / backup.name, "--lake", lake)
    settled = sound(lake)
    assert 20 < len(settled) <= 120
    with Lake.open(lake) as opened:
        assert verify_release(opened, "tiles@1.0.0").problems == []
    run("ingest", "folder", more, "--collection", "more", "--lake", lake)
    assert len(sound(lake)) == 120
