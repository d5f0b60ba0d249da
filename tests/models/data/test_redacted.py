"""Training data of releases from which a picture was taken down: the other rows, in the lake and exported, and a count of what is gone."""

import shutil
from pathlib import Path

import pytest

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.exports.forms import export_release
from captionlake.lake.takedown.finding import Request, find
from captionlake.lake.takedown.removal import take_down
from captionlake.models.data import ExportedStream, Order, ReleaseData


@pytest.fixture(scope="module")
def lake(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without 00001.jpg, which a conversation of one picture and one of two show."""
    path = tmp_path_factory.mktemp("redacted") / "lake"
    shutil.copytree(made / "lake", path)
    with Lake.open(path) as opened:
        (row,) = opened.rows("SELECT source, source_key FROM images WHERE source_key = '00001.jpg'")
        take_down(opened, find(opened, Request(keys=[row])).hashes, "asked")
    return path


@pytest.mark.parametrize(("label", "gone"), [("tiles@1.0.0", 1), ("mix@1.0.0", 2)])
def test_the_other_samples_are_as_before(made: Path, lake: Path, tmp_path: Path, label: str, gone: int) -> None:
    before, after = ReleaseData.open(made / "lake", label), ReleaseData.open(lake, label)
    assert after.left_out["taken down"] == gone
    assert after.content_sha256 == before.content_sha256
    samples = [after[i] for i in range(len(after))]
    assert [one for i in range(len(before)) if (one := before[i]) in samples] == samples
    assert len(before) - len(samples) == gone
    with Lake.open(lake) as opened:
        export_release(opened, label, "parquet", tmp_path / "out")
    stream = ExportedStream(tmp_path / "out", None, Order(rank=0, world_size=1, shuffle=False), window=10)
    assert list(stream) == samples


def test_a_hole_that_no_takedown_made_is_refused(lake: Path, tmp_path: Path) -> None:
    shutil.copytree(lake, tmp_path / "lake")
    with Lake.open(tmp_path / "lake") as opened:
        opened.commit(lambda c: c.execute("UPDATE releases SET state = 'valid'"))
    with pytest.raises(CaptionlakeError, match="no takedown says so"):
        ReleaseData.open(tmp_path / "lake", "tiles@1.0.0")
