"""SA-1B by its list of links: tars downloaded one by one, taken in, removed; what cannot be had is a row."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from captionlake.lake import Lake
from captionlake.lake.ingest import ingest
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.ingest_counts import IngestCounts
from captionlake.lake.ingest_preview import preview
from captionlake.lake.status import status

from ..official import sam
from .image_server import ImageServer


@pytest.fixture
def server() -> Iterator[ImageServer]:
    with ImageServer() as running:
        yield running


def ingest_sam(lake: Lake, *inputs: Path, **options: object) -> IngestCounts:
    """Every listed row must be accounted for."""
    given = {"source": "sam", "inputs": list(map(str, inputs)), "allow_private_hosts": True} | options
    counts = ingest(lake, IngestConfig(**given))  # type: ignore[arg-type]
    known = counts.present + counts.failed_before + counts.not_tried + counts.repeated
    assert counts.listed == known + counts.images + counts.copied + counts.failures
    return counts


def links(folder: Path, server: ImageServer, count: int) -> Path:
    """A list of ``count`` links to the server."""
    path = folder / "links.tsv"
    lines = [f"{sam.tar_name(n)}\t{server.url(f'/{sam.tar_name(n)}')}" for n in range(count)]
    path.write_text("\r\n".join(["file_name\tcdn_link", *lines]) + "\r\n")
    return path


def parts(lake: Lake) -> dict[str, tuple[int, int, int, dict[str, int]]]:
    return {p.part: (p.expected, p.present, p.failed, p.reasons) for p in status(lake, "sam")[0].parts}


def test_tars_by_link(lake: Lake, server: ImageServer, tmp_path: Path, tiles: Callable[[int], list[bytes]]) -> None:
    held = sam.lay_out(tmp_path / "sam", tiles(9), tars=3)
    tars = [(tmp_path / "sam" / sam.tar_name(n)).read_bytes() for n in range(3)]
    server.add("/sa_000000.tar", tars[0], "application/x-tar")
    server.add("/sa_000002.tar", tars[2][: len(tars[2]) // 2], "application/x-tar")  # the archive itself is cut off
    listed = links(tmp_path, server, 3)

    plan = preview(lake, IngestConfig(source="sam", inputs=[str(listed)], allow_private_hosts=True))
    assert plan.archives_to_download == [sam.tar_name(n) for n in range(3)]
    assert plan.bytes_archives is None, "the size of the one that is not there is not known"

    counts = ingest_sam(lake, listed)
    assert counts.images >= 3 and counts.reasons["not_found"] == 1 and counts.reasons["truncated"] >= 1
    assert not list((lake.path / "downloads").iterdir())
    found = parts(lake)
    assert found["sa_000000.tar"] == (3, 3, 0, {})
    assert found["sa_000001.tar"] == (1, 0, 1, {"not_found": 1})
    assert found["sa_000002.tar"][2] >= 1
    keys = {key for (key,) in lake.rows("SELECT source_key FROM images WHERE archive = 'sa_000000.tar'")}
    assert keys == set(held[0])
    metas = lake.rows("SELECT source_key, meta, subset FROM images WHERE archive = 'sa_000000.tar'")
    for key, meta, subset in metas:
        n = int(key.removeprefix("sa_").removesuffix(".jpg"))
        assert (json.loads(meta)["masks"], subset) == (1 + n % 3, "sa_000000")
        assert "segmentation" not in meta

    asked = server.requests["/sa_000000.tar"]
    again = ingest_sam(lake, listed)
    assert (again.images, again.failures, again.present) == (0, 0, counts.images)
    assert server.requests["/sa_000000.tar"] == asked, "a tar that was done is not downloaded again"

    server.add("/sa_000001.tar", tars[1], "application/x-tar")
    retried = ingest_sam(lake, listed, retry_failed=True, retry_reasons=["not_found"])
    assert (retried.images, retried.failures) == (3, 0)
    assert parts(lake)["sa_000001.tar"] == (3, 3, 0, {})
    assert server.requests["/sa_000000.tar"] == asked


def test_tars_at_hand_are_not_downloaded(
    lake: Lake, server: ImageServer, tmp_path: Path, tiles: Callable[[int], list[bytes]]
) -> None:
    sam.lay_out(tmp_path / "sam", tiles(6), tars=2)
    server.add("/sa_000001.tar", (tmp_path / "sam" / "sa_000001.tar").read_bytes(), "application/x-tar")
    listed = links(tmp_path, server, 2)
    counts = ingest_sam(lake, listed, tmp_path / "sam" / "sa_000000.tar", keep_archives=True)
    assert (counts.listed, counts.images) == (6, 6)
    assert not server.requests["/sa_000000.tar"]
    assert [path.name for path in (lake.path / "downloads").iterdir()] == ["sa_000001.tar"]
    assert {name: found[:3] for name, found in parts(lake).items()} == {
        "sa_000000.tar": (3, 3, 0),
        "sa_000001.tar": (3, 3, 0),
    }
    assert status(lake, "sam")[0].expected == 6


def test_a_limit_downloads_no_more_tars_than_it_needs(
    lake: Lake, server: ImageServer, tmp_path: Path, tiles: Callable[[int], list[bytes]]
) -> None:
    sam.lay_out(tmp_path / "sam", tiles(6), tars=2)
    for n in range(2):
        server.add(f"/{sam.tar_name(n)}", (tmp_path / "sam" / sam.tar_name(n)).read_bytes(), "application/x-tar")
    counts = ingest_sam(lake, links(tmp_path, server, 2), limit=2)
    assert (counts.listed, counts.images) == (2, 2)
    assert not server.requests["/sa_000001.tar"]
    counts = ingest_sam(lake, links(tmp_path, server, 2))
    assert (counts.present, counts.images) == (2, 4)
