"""Web lists: pictures really downloaded from a server, every failure recorded, no URL asked for twice."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.guard import FetchPolicy
from captionlake.lake.ingest import ingest
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.ingest_counts import IngestCounts

from .image_server import ImageServer, jpeg

POLICY = FetchPolicy(processes=1, threads=16, timeout=2, total_timeout=4, max_bytes=1_000_000, retries=1)


@pytest.fixture
def server() -> Iterator[ImageServer]:
    with ImageServer() as running:
        yield running


def web(lake: Lake, table: Path, **options: object) -> IngestCounts:
    """One ingest of a list from loopback; every listed row must be accounted for."""
    given = {"source": "web", "inputs": [str(table)], "allow_private_hosts": True, "fetch": POLICY} | options
    counts = ingest(lake, IngestConfig(**given))  # type: ignore[arg-type]
    adds_up(counts)
    return counts


def asked(server: ImageServer) -> dict[str, int]:
    """How often each picture was asked for; what a host says of their use is asked for once a process."""
    return {path: n for path, n in server.requests.items() if path not in ("/robots.txt", "/.well-known/tdmrep.json")}


def adds_up(counts: IngestCounts) -> None:
    accounted = counts.present + counts.failed_before + counts.not_tried + counts.repeated
    assert counts.listed == accounted + counts.images + counts.copied + counts.failures


def listed(path: Path, *urls: str) -> Path:
    path.write_text("url,name\n" + "".join(f'"{url}",Subject {n}\n' for n, url in enumerate(urls)))
    return path


def failures(lake: Lake) -> dict[str, str]:
    return dict(lake.rows("SELECT source_key, reason FROM fetch_failures"))


def test_the_bytes_served_are_the_bytes_stored(
    lake: Lake, server: ImageServer, tmp_path: Path, photographs: dict[str, Image.Image]
) -> None:
    served = {server.add(f"/made/{n}.jpg", jpeg(n)): jpeg(n) for n in range(8)}
    for name, kind in (("chelsea", "PNG"), ("coffee", "WEBP"), ("rocket", "GIF")):
        photographs[name].crop((0, 0, 120, 90)).save(tmp_path / name, kind)
        served[server.add(f"/{name}", (tmp_path / name).read_bytes())] = (tmp_path / name).read_bytes()
    rows = [f'{url},"Picture ""{n}"", naïve 東京",CC0-1.0,Somebody,{n % 2},"a, b"' for n, url in enumerate(served)]
    table = tmp_path / "list.csv"
    table.write_text("\ufeffurl,name,license,author,era,note\n" + "\n".join(rows), encoding="utf-8")
    counts = web(lake, table, subset="landmark")
    assert (counts.listed, counts.images, counts.captions, counts.failures) == (11, 11, 11, 0)
    found = lake.rows("SELECT source_key, url, image_id, n_bytes, meta, subset, license, author FROM images")
    stored = dict(lake.pictures([row[2] for row in found]))
    for key, url, image_id, n_bytes, meta, *rest in found:
        number = list(served).index(url)
        assert key == url
        assert stored[image_id] == served[url]
        assert image_id == hashlib.sha256(served[url]).hexdigest()
        assert n_bytes == len(served[url])
        assert json.loads(meta) == {"name": f'Picture "{number}", naïve 東京', "era": str(number % 2), "note": "a, b"}
        assert rest == ["landmark", "CC0-1.0", "Somebody"]
    texts = lake.rows("SELECT source_key, image_id, text, kind, producer, params FROM captions")
    assert {text[:2] for text in texts} == {(row[0], row[2]) for row in found}
    for key, _, text, kind, producer, params in texts:
        assert text == f'Picture "{list(served).index(key)}", naïve 東京'
        assert (kind, producer, json.loads(params)) == ("alt", "source", {"ordinal": 0})
    formats = dict(lake.rows("SELECT format, count(*) FROM images GROUP BY 1"))
    assert formats == {"JPEG": 8, "PNG": 1, "WEBP": 1, "GIF": 1}


def test_every_failure_has_its_reason(lake: Lake, server: ImageServer, tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(jpeg(1))
    whole = jpeg(3, 400, 300)
    server.add("/cut.jpg", whole[: len(whole) // 2])
    server.add("/page.jpg", b"<html><body>Not here</body></html>")
    server.add("/big.jpg", b"\xff\xd8\xff" + bytes(POLICY.max_bytes))
    secret = (tmp_path / "secret.jpg").as_uri()
    expected = {
        server.url("/gone.jpg"): "not_found",
        server.url("/status/410"): "not_found",
        server.url("/status/403"): "forbidden",
        server.url("/status/500"): "server_error",
        # A host that asks for a long pause is left alone with all its pictures, so by another name.
        server.url("/patience/9999", "localhost"): "rate_limited",
        server.url("/cut.jpg"): "truncated",
        server.url("/short"): "truncated",
        server.url("/page.jpg"): "not_an_image",
        server.url("/page"): "not_an_image",
        server.url("/empty"): "not_an_image",
        server.url("/big.jpg"): "too_large",
        server.url("/huge"): "too_large",
        server.url("/silent"): "timeout",
        server.url("/loop"): "redirect_loop",
        server.url(f"/to?url={secret}"): "blocked_scheme",
        server.url("/robots/noai"): "opted_out",
        server.url("/robots/noimageindex"): "opted_out",
        secret: "blocked_scheme",
        "ftp://127.0.0.1/a.jpg": "blocked_scheme",
        "data:image/gif;base64,R0lGODlhAQABAAAAACw=": "blocked_scheme",
        "javascript:alert(1)": "blocked_scheme",
        "picture.jpg": "bad_url",
        "http://": "bad_url",
        "http://[half/a.jpg": "bad_url",
        "http://127.0.0.1:1/a.jpg": "connection",
        "http://no-such-host.invalid/a.jpg": "connection",
    }
    good = [server.url("/image/1"), server.url("/hops/3"), server.url("/limited/1")]
    counts = web(lake, listed(tmp_path / "list.csv", *expected, *good))
    assert failures(lake) == expected
    assert {key for (key,) in lake.rows("SELECT source_key FROM images")} == set(good)
    assert counts.failures == len(expected) == sum(counts.reasons.values())
    assert lake.value("SELECT count(*) FROM captions") == len(good)
    assert all("\n" not in detail for (detail,) in lake.rows("SELECT detail FROM fetch_failures"))


def test_without_leave_no_private_address_is_touched(lake: Lake, server: ImageServer, tmp_path: Path) -> None:
    hosts = ("127.0.0.1", "localhost", "[::1]", "127.1", "2130706433", "[::ffff:127.0.0.1]", "0.0.0.0")
    urls = [server.url("/image/1", host) for host in hosts]
    counts = web(lake, listed(tmp_path / "list.csv", *urls), allow_private_hosts=False)
    assert (counts.images, counts.failures) == (0, len(urls))
    assert set(failures(lake).values()) == {"blocked_address"}
    assert server.connections == 0


def test_no_url_is_asked_for_twice(lake: Lake, server: ImageServer, tmp_path: Path) -> None:
    good, gone, late = server.url("/image/5"), server.url("/gone.jpg"), server.url("/late.jpg")
    table = listed(tmp_path / "list.csv", good, gone, late, good, "")
    first = web(lake, table)
    assert (first.images, first.failures, first.repeated) == (1, 3, 1)
    assert failures(lake) == {gone: "not_found", late: "not_found", "list.csv:6": "bad_row"}
    again = web(lake, table)
    assert (again.present, again.failed_before, again.repeated) == (1, 3, 1)
    assert asked(server) == {"/image/5": 1, "/gone.jpg": 1, "/late.jpg": 1}

    server.add("/late.jpg", jpeg(6))
    retried = web(lake, table, retry_failed=True)
    assert (retried.images, retried.failures, retried.present) == (1, 2, 1)
    assert asked(server) == {"/image/5": 1, "/gone.jpg": 2, "/late.jpg": 2}
    assert failures(lake) == {gone: "not_found", "list.csv:6": "bad_row"}
    assert lake.rows("SELECT attempts FROM fetch_failures WHERE source_key = ?", [gone]) == [(2,)]
    assert lake.rows("SELECT text FROM captions WHERE source_key = ?", [late]) == [("Subject 2",)]


def coco(path: Path, *urls: str) -> Path:
    """Annotations of pictures a.jpg, b.jpg, … with these URLs, a caption each."""
    names = [f"{chr(97 + n)}.jpg" for n in range(len(urls))]
    images = [{"id": n, "file_name": names[n], "coco_url": url, "license": 1} for n, url in enumerate(urls)]
    annotations = [{"id": n, "image_id": n, "caption": f"Caption of {name}"} for n, name in enumerate(names)]
    licenses = [{"id": 1, "name": "Attribution License", "url": "http://example.org/by"}]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "licenses": licenses}))
    return path


def test_one_url_under_several_keys_and_sources(lake: Lake, server: ImageServer, tmp_path: Path) -> None:
    shared, gone, own = server.url("/image/1"), server.url("/gone.jpg"), server.url("/image/2")
    web(lake, listed(tmp_path / "list.csv", shared, gone), license="CC0-1.0")
    annotations = coco(
        tmp_path / "captions.json", shared, gone, own, own, shared, server.url("/no.jpg"), server.url("/no.jpg")
    )
    counts = web(lake, annotations, source="coco")
    assert (counts.images, counts.copied, counts.failures) == (1, 3, 3)
    assert asked(server) == {"/image/1": 1, "/image/2": 1, "/gone.jpg": 1, "/no.jpg": 1}
    ids = dict(lake.rows("SELECT source_key, image_id FROM images WHERE source = 'coco'"))
    assert ids == {
        **dict.fromkeys(("a.jpg", "e.jpg"), hashlib.sha256(jpeg(1)).hexdigest()),
        **dict.fromkeys(("c.jpg", "d.jpg"), hashlib.sha256(jpeg(2)).hexdigest()),
    }
    rows = lake.rows("SELECT DISTINCT collection, license, url FROM images WHERE source_key = 'a.jpg'")
    assert rows == [("coco", "Attribution License", shared)]
    assert sorted(lake.rows("SELECT source_key, text FROM captions WHERE source = 'coco'")) == [
        (name, f"Caption of {name}") for name in ("a.jpg", "c.jpg", "d.jpg", "e.jpg")
    ]
    assert lake.rows("SELECT source_key, reason FROM fetch_failures WHERE source = 'coco' ORDER BY 1") == [
        (name, "not_found") for name in ("b.jpg", "f.jpg", "g.jpg")
    ]
    with Lake.open(lake.path) as again:
        assert again.value("SELECT count(*) FROM image_bytes") == 2

    for path in ("/gone.jpg", "/no.jpg"):
        server.add(path, jpeg(len(path)))
    retried = web(lake, annotations, source="coco", retry_failed=True)
    assert (retried.images, retried.copied, retried.failures) == (2, 1, 0)
    assert lake.rows("SELECT source, source_key FROM fetch_failures") == [("web", gone)]
    retried = web(lake, tmp_path / "list.csv", retry_failed=True)
    assert (retried.present, retried.copied, retried.failures) == (1, 1, 0)
    assert failures(lake) == {}
    assert server.requests["/gone.jpg"] == server.requests["/no.jpg"] == 2


def test_strange_values_are_kept_or_recorded_and_stop_nothing(lake: Lake, server: ImageServer, tmp_path: Path) -> None:
    rows = [
        f'{{"url": "{server.url("/image/1")}", "name": "half \\ud83d a pair", "note": "\\udead\\u0000", "\\ud800": 1}}',
        f'{{"url": "{server.url("/image/2")}", "text": ["a", "list"], "x": NaN, "y": 1e999, "z": -Infinity}}',
        f'{{"url": "{server.url("/image/3")}", "caption": "  ", "big": {"9" * 400}, "deep": {"[" * 200}{"]" * 200}}}',
        f'{{"url": "{server.url("/image/4")}", "alt": "{"long " * 100_000}", "license": {{"id": 1}}}}',
        '{"url": null, "name": "nowhere"}',
        '{"name": "no url at all"}',
        '{"url": 7}',
        '{"url": {"a": 1}}',
    ]
    table = tmp_path / "odd.jsonl"
    table.write_text("\n".join(rows))
    counts = web(lake, table)
    assert (counts.images, counts.captions, counts.failures) == (4, 3, 4)
    reasons = failures(lake)
    assert (reasons.pop("odd.jsonl:5"), reasons.pop("odd.jsonl:6")) == ("bad_row", "bad_row")
    assert set(reasons.values()) == {"bad_url"}
    assert lake.value("SELECT bool_and(json_valid(meta)) FROM images")
    assert lake.value("SELECT text FROM captions WHERE source_key LIKE '%/1'") == "half ? a pair"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("list.csv", b"url,name\nhttp://a/1.jpg,A\nhttp://a/2.jpg,B,C\n", "line 3: 3 fields where the header has 2"),
        ("list.csv", b'url,name\nhttp://a/1.jpg,"A\n\nhttp://a/2.jpg,B\n', "line"),
        ("list.csv", b"link,name\nhttp://a/1.jpg,A\n", "line 1: no column `url`"),
        ("list.csv", b"url,url\na,b\n", "line 1: a column stands twice"),
        ("list.tsv", b"url\tname\nhttp://a/1.jpg\n", "line 2: 1 fields"),
        ("list.csv", b"url\nhttp://a/\xe9.jpg\n", "line 2: not UTF-8"),
        ("list.csv", b"", "empty"),
        ("list.jsonl", b'{"name": "A"}\n', "line 1: no column `url`"),
        ("list.jsonl", b'{"url": "http://a/1.jpg"}\n{"url": \n', "line 2: not JSON"),
        ("list.txt", b"http://a/1.jpg\n", "not a table"),
    ],
)
def test_a_malformed_list_is_one_line_and_stores_nothing(
    lake: Lake, tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CaptionlakeError) as caught:
        web(lake, tmp_path / name)
    assert said in str(caught.value) and name in str(caught.value) and "\n" not in str(caught.value)
    assert lake.value("SELECT (SELECT count(*) FROM images) + (SELECT count(*) FROM fetch_failures)") == 0
    assert list((lake.path / "staging").iterdir()) == []


def test_a_list_that_is_not_there_is_told(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(CaptionlakeError, match=r"nowhere\.csv cannot be read"):
        web(lake, tmp_path / "nowhere.csv")


TWO = """
import json, sys
from dataclasses import asdict
from captionlake.lake import Lake
from captionlake.lake.ingest import ingest
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.ingest_counts import IngestCounts
with Lake.open(sys.argv[1]) as lake:
    config = IngestConfig(source="web", inputs=[sys.argv[2]], allow_private_hosts=True, fetch={"processes": 1})
    sys.stdout.write(json.dumps(asdict(ingest(lake, config))))
"""


def test_two_processes_with_one_list(lake: Lake, server: ImageServer, tmp_path: Path) -> None:
    """Both may fetch, but each row is stored once, and each process accounts for every row."""
    table = listed(tmp_path / "list.csv", *(server.url(f"/image/{n}" if n % 5 else f"/gone/{n}") for n in range(60)))
    command = [sys.executable, "-c", TWO, str(lake.path), str(table)]
    jobs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = [IngestCounts(**json.loads(job.communicate()[0])) for job in jobs]
    for counts in told:
        adds_up(counts)
    assert sum(counts.images for counts in told) == lake.value("SELECT count(*) FROM images") == 48
    assert lake.rows("SELECT count(*), count(DISTINCT source_key) FROM fetch_failures") == [(12, 12)]
    assert sum(counts.captions for counts in told) == lake.value("SELECT count(*) FROM captions") == 48
