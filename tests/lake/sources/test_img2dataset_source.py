"""What img2dataset made: its real output in three forms, and what users have of it: parts, cut files, other extensions."""

import hashlib
import importlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from captionlake.errors import CaptionlakeError
from captionlake.lake.archives import ArchiveReader
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.reasons import FailureReason
from captionlake.lake.sources.img2dataset import IMG2DATASET, REASONS
from captionlake.lake.sources.source import SCHEMA

from ..image_server import ImageServer, jpeg

FORMS = ("parquet", "webdataset", "files")
# One process makes the three of them, and forks where img2dataset would start others, which would import torch each; nothing
# is logged. Pictures are kept as they are, so that their bytes can be compared.
DOWNLOAD = """
import multiprocessing, sys
from img2dataset import distributor, download
from captionlake.lake.fetcher import _NoLogger
distributor.get_context = lambda _: multiprocessing.get_context("fork")
sys.modules["img2dataset.main"].LoggerProcess = _NoLogger
if __name__ == "__main__":
    for form in sys.argv[3:]:
        download(sys.argv[1], input_format="parquet", url_col="url", caption_col="alt", output_folder=f"{sys.argv[2]}/{form}",
                 output_format=form, save_additional_columns=["similarity", "license"], number_sample_per_shard=4,
                 processes_count=1, thread_count=4, resize_mode="no", disable_all_reencoding=True, timeout=3)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """The folder with img2dataset's output in each form, and what became of each URL: a name of a picture, or a reason."""
    folder = tmp_path_factory.mktemp("img2dataset")
    with ImageServer() as server:
        fate = {server.url(f"/image/{n}"): "" for n in range(4)}
        fate |= {server.url("/gone.jpg"): "not_found", server.url("/status/403"): "forbidden"}
        fate |= {server.url("/status/500"): "server_error", server.url("/robots/noai"): "opted_out"}
        fate |= {"http://127.0.0.1:1/a.jpg": "connection"}
        table = {
            "url": list(fate),
            "alt": [f"Alt text of {n}" for n in range(len(fate))],
            "similarity": [n / 8 for n in range(len(fate))],
            "license": ["CC-BY", *[None] * (len(fate) - 1)],
        }
        pq.write_table(pa.table(table), folder / "list.parquet")
        command = [sys.executable, "-c", DOWNLOAD, str(folder / "list.parquet"), str(folder), *FORMS]
        environment = os.environ | {"NO_ALBUMENTATIONS_UPDATE": "1"}
        subprocess.run(command, check=True, capture_output=True, env=environment, timeout=200)
        yield folder, fate


def read(*paths: Path) -> pl.DataFrame:
    config = IngestConfig(source="img2dataset", inputs=[str(path) for path in paths])
    return pl.concat([pl.DataFrame(schema=SCHEMA), *IMG2DATASET.read(config)])


def pictures(rows: pl.DataFrame) -> dict[str, bytes]:
    with ArchiveReader(max_bytes=2**20) as reader:
        wanted = rows.select("source_key", "archive", "member", "offset", "n_bytes").iter_rows()
        return {key: reader.read(*place) for key, *place in wanted}


def number(url: str) -> int:
    return int(url.rpartition("/")[2])


@pytest.mark.parametrize("form", FORMS)
def test_img2datasets_own_output(made: tuple[Path, dict[str, str]], form: str) -> None:
    folder, fate = made
    rows = read(folder / form)
    assert sorted(rows["source_key"]) == sorted(rows["url"]) == sorted(fate)
    good = rows.filter(pl.col("bad").is_null())
    assert pictures(good) == {url: jpeg(number(url)) for url, reason in fate.items() if not reason}
    assert dict(rows.filter(pl.col("bad").is_not_null()).select("url", "reason").iter_rows()) == {
        url: reason for url, reason in fate.items() if reason
    }
    order = list(fate)
    for url, captions, meta, license in good.select("url", "captions", "meta", "license").iter_rows():
        assert captions == [{"text": f"Alt text of {order.index(url)}", "kind": "alt", "license": None}]
        assert json.loads(meta)["similarity"] == order.index(url) / 8
        assert json.loads(meta)["sha256"] == hashlib.sha256(jpeg(number(url))).hexdigest()
        assert license == ("CC-BY" if order.index(url) == 0 else None)
    assert (good["offset"].null_count() == 0) == (form == "webdataset")


def test_tars_alone_tell_the_same_of_their_pictures(made: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    """As a webdataset on the Hub has them: no Parquet, no statistics; webdataset itself sees the same samples."""
    for tar in (made[0] / "webdataset").glob("*.tar"):
        shutil.copy(tar, tmp_path)
    rows = read(tmp_path)
    tars = [str(path) for path in sorted(tmp_path.glob("*.tar"))]
    webdataset: Any = importlib.import_module("webdataset")
    samples = list(webdataset.WebDataset(tars, shardshuffle=False, empty_check=False))
    assert pictures(rows) == {json.loads(sample["json"])["url"]: sample["jpg"] for sample in samples}
    assert [c[0]["text"] for c in rows["captions"].to_list()] == [sample["txt"].decode() for sample in samples]
    assert rows["bad"].null_count() == rows.height == 4
    assert json.loads(rows["meta"][0])["similarity"] == json.loads(samples[0]["json"])["similarity"]
    assert read(Path(tars[0])).equals(rows.filter(pl.col("archive") == tars[0]))


@pytest.mark.parametrize("form", FORMS)
def test_a_shard_without_statistics_comes_in_and_is_named(
    made: tuple[Path, dict[str, str]], tmp_path: Path, form: str
) -> None:
    folder = tmp_path / "out"
    shutil.copytree(made[0] / form, folder)
    before = read(folder)
    stats = sorted(folder.glob("*_stats.json"))
    stats[1].unlink()
    name = stats[1].name.removesuffix("_stats.json")
    rows = read(folder)
    extra = rows.filter(pl.col("source_key") == f"out/{name}")
    assert extra["reason"].to_list() == ["truncated"] and "run img2dataset again" in extra["bad"][0]
    assert rows.filter(pl.col("source_key") != f"out/{name}").equals(before)

    (folder / f"{name}.parquet").write_bytes((folder / f"{name}.parquet").read_bytes()[:-9])  # as a kill leaves it
    lost = before.filter(pl.col("bad").is_null()).height if form != "parquet" else None
    rows = read(folder)
    assert f"out/{name}" in rows["source_key"].to_list()
    if lost is not None:
        assert rows.filter(pl.col("bad").is_null()).height == lost
    stats[1].write_text("{}")
    with pytest.raises(CaptionlakeError, match=rf"{name}\.parquet"):
        read(folder)


def test_a_cut_tar_keeps_what_is_whole(made: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    folder = tmp_path / "out"
    shutil.copytree(made[0] / "webdataset", folder)
    whole = read(folder)
    for tar in sorted(folder.glob("*.tar")):
        with tarfile.open(tar) as file:
            found = [member for member in file if member.name.endswith(".jpg")]
        if len(found) > 1:
            break
    second = found[1]
    tar.write_bytes(tar.read_bytes()[: second.offset_data + 10])
    rows = read(folder)
    lost = set(whole.filter(pl.col("bad").is_null())["url"]) - set(rows.filter(pl.col("bad").is_null())["url"])
    assert lost
    told = rows.filter(pl.col("url").is_in(list(lost)))
    assert sorted(told["reason"]) == ["missing_member", "missing_member", "truncated"]
    assert (
        told.filter((pl.col("reason") == "truncated") & pl.col("bad").str.contains(tar.name, literal=True)).height == 1
    )


def tarred(path: Path, **members: bytes) -> Path:
    with tarfile.open(path, "w") as file:
        for name, data in members.items():
            info = tarfile.TarInfo(name.replace("_", "."))
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


def test_other_extensions_and_damaged_texts(tmp_path: Path) -> None:
    data = {
        "0_png": jpeg(0),
        "0_json": b'{"caption": "in JSON", "license": "CC0", "n": NaN}',
        "1_webp": jpeg(1),
        "1_json": b'{"url": "http://a/1", ',
        "1_txt": b"caf\xe9 \x00 ",
        "2_json": b"[1, 2]",
        "2_jpeg": jpeg(2),
        "3_txt": b"no picture",
        "4_cls": b"7",
    }
    rows = read(tarred(tmp_path / "00007.tar", **data))
    folder = tmp_path.name
    assert rows["source_key"].to_list() == [f"{folder}/{n}" for n in range(4)]
    assert [[c["text"] for c in each] for each in rows["captions"]] == [["in JSON"], ["caf\ufffd"], [], ["no picture"]]
    assert rows["license"].to_list() == ["CC0", None, None, None]
    assert rows["reason"].to_list() == [None, None, None, "missing_member"]
    assert "1.json: not JSON" in json.loads(rows["meta"][1])["unreadable"]
    assert list(pictures(rows.head(3)).values()) == [jpeg(0), jpeg(1), jpeg(2)]


def test_error_messages_and_their_reasons(tmp_path: Path) -> None:
    said = {
        "HTTP Error 404: Not Found": "not_found",
        "HTTP Error 410: Gone": "not_found",
        "HTTP Error 403: Forbidden": "forbidden",
        "HTTP Error 429: Too Many Requests": "rate_limited",
        "HTTP Error 503: Service Unavailable": "server_error",
        "HTTP Error 301: The HTTP server returned a redirect error that would lead to an infinite loop.": "redirect_loop",
        "<urlopen error timed out>": "timeout",
        "The read operation timed out": "timeout",
        "Use of image disallowed by X-Robots-Tag directive": "opted_out",
        "<urlopen error [Errno -2] Name or service not known>": "connection",
        "unknown url type: 'nowhere'": "bad_url",
        "<urlopen error no host given>": "bad_url",
        "Image decoding error": "decode_error",
        "hash mismatch": "connection",
        "two\nlines": "connection",
    }
    failed = {
        "key": [f"{n:09d}" for n in range(len(said) + 2)],
        "url": [None, *(f"http://a/{n}" for n in range(len(said))), None],
        "status": ["failed_to_resize", *["failed_to_download"] * len(said), "success"],
        "error_message": ["image too small", *said, None],
        "jpg": pa.array([None] * (len(said) + 2), pa.binary()),
    }
    pq.write_table(pa.table(failed), tmp_path / "00000.parquet")
    rows = read(tmp_path / "00000.parquet")
    assert rows["reason"].to_list() == ["decode_error", *said.values(), "missing_member"]
    assert rows["bad"][1] == "00000.parquet row 1: img2dataset: HTTP Error 404: Not Found"
    assert not rows["bad"].str.contains("\n").any()
    assert rows["source_key"][0] == f"{tmp_path.name}/000000000"
    assert set(REASONS.values()) < set(FailureReason)


def test_what_is_no_output_of_img2dataset(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "00000.tfrecord").write_bytes(b"x")
    pq.write_table(pa.table({"jpg": [b"x"], "text": ["t"]}), tmp_path / "hub.parquet")
    pq.write_table(pa.table({"url": ["http://a/1"], "key": ["0"]}), tmp_path / "list.parquet")
    expected = {
        "empty": "no shards",
        "records": "tfrecord",
        "hub.parquet": "none of the columns",
        "list.parquet": "beside it",
    }
    expected |= {"none": "no file or folder"}
    for name, words in expected.items():
        with pytest.raises(CaptionlakeError, match=words) as caught:
            read(tmp_path / name)
        assert name in str(caught.value)
    with pytest.raises(CaptionlakeError, match="output folder"):
        read()
