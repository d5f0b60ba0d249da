"""Failed rows tried again: those alone, by reason, each moving to ``images`` in one transaction."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from captionlake.lake import Lake
from captionlake.lake.ingest import ingest
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.ingest_counts import IngestCounts
from captionlake.lake.reasons import FailureReason


def folder(lake: Lake, path: Path, **options: object) -> IngestCounts:
    """One ingest of a folder with its table; every listed row must be accounted for."""
    given = {"source": "folder", "inputs": [str(path), str(path / "list.csv")]} | options
    counts = ingest(lake, IngestConfig(**given))  # type: ignore[arg-type]
    known = counts.present + counts.failed_before + counts.not_tried + counts.repeated
    assert counts.listed == known + counts.images + counts.copied + counts.failures
    return counts


@pytest.fixture
def pictures(tmp_path: Path, tiles: Callable[[int], list[bytes]]) -> Path:
    """Two good pictures, one that is cut off, one that is no picture, and two that are missing."""
    path = tmp_path / "pictures"
    path.mkdir()
    data = tiles(6)
    for number in (0, 1):
        (path / f"{number}.jpg").write_bytes(data[number])
    (path / "2.jpg").write_bytes(data[2][:-400])
    (path / "3.jpg").write_bytes(b"<html>")
    (path / "list.csv").write_text("file_name,caption\n" + "".join(f"{n}.jpg,Number {n}\n" for n in range(6)))
    return path


def reasons(lake: Lake) -> dict[str, tuple[str, int]]:
    rows = lake.rows("SELECT source_key, reason, attempts FROM fetch_failures")
    return {key: (reason, attempts) for key, reason, attempts in rows}


def test_only_failed_rows_of_the_reason_are_tried(
    lake: Lake, pictures: Path, tiles: Callable[[int], list[bytes]]
) -> None:
    folder(lake, pictures)
    assert reasons(lake) == {
        "2.jpg": ("truncated", 1),
        "3.jpg": ("not_an_image", 1),
        "4.jpg": ("missing_member", 1),
        "5.jpg": ("missing_member", 1),
    }
    data = tiles(8)
    for number in (2, 4):
        (pictures / f"{number}.jpg").write_bytes(data[number])
    (pictures / "6.jpg").write_bytes(data[6])  # a new picture, which nobody asked for
    before = lake.snapshot()
    counts = folder(lake, pictures, retry_failed=True, retry_reasons=["missing_member"])
    assert (counts.present, counts.images, counts.failures) == (2, 1, 1)
    assert (counts.failed_before, counts.not_tried) == (2, 1)
    assert reasons(lake) == {
        "2.jpg": ("truncated", 1),
        "3.jpg": ("not_an_image", 1),
        "5.jpg": ("missing_member", 2),
    }
    held = (
        "SELECT (SELECT count(*) FROM images AS i AT (VERSION => {0}) WHERE source_key = '4.jpg'), "
        "(SELECT count(*) FROM fetch_failures AS f AT (VERSION => {0}) WHERE source_key = '4.jpg')"
    )
    states = [lake.rows(held.format(version))[0] for version in range(before, lake.snapshot() + 1)]
    assert set(states) == {(0, 1), (1, 0)}, "at each snapshot the row is in one of the two"

    counts = folder(lake, pictures, retry_failed=True)
    assert (counts.images, counts.failures, counts.not_tried) == (1, 2, 1)
    assert reasons(lake) == {"3.jpg": ("not_an_image", 2), "5.jpg": ("missing_member", 3)}
    assert lake.value("SELECT count(*) FROM captions") == 4
    counts = folder(lake, pictures)
    assert (counts.images, counts.failed_before, counts.present) == (1, 2, 4)


def test_reasons_are_of_the_closed_set_and_for_a_retry() -> None:
    with pytest.raises(ValidationError, match="rate_limited"):
        IngestConfig(source="folder", retry_failed=True, retry_reasons=["slow"])  # type: ignore[list-item]
    with pytest.raises(ValidationError, match="--retry-failed"):
        IngestConfig(source="folder", retry_reasons=[FailureReason.TIMEOUT])
