"""A small web in which everything is wrong that can be, downloaded by the real img2dataset in one run.

The list goes over that web twice, and its shards are so small that img2dataset has replaced its worker processes by the
time of the second round: what holds in the first workers must hold in those that came after them.
"""

import csv
import hashlib
import io
import json
import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from captionlake.lake import Lake, ingest_job
from captionlake.lake.guard import FetchPolicy
from captionlake.lake.ingest import ingest
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.ingest_counts import IngestCounts

from .image_server import ImageServer, jpeg

SHARD = 7  # rows; img2dataset gives five shards to a worker process, then starts another one
SHARDS_OF_A_WORKER = 5
POLICY = FetchPolicy(processes=2, threads=16, timeout=3, total_timeout=5, max_bytes=1_000_000, retries=1)
WIDTH, HEIGHT = 64, 48
pytestmark = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # Pillow's, of the smaller bomb
ROBOTS = b"User-agent: *\nDisallow: /private/\nUser-agent: img2dataset\nDisallow: /no-data-sets/\nDisallow: /private/\n"
MINING = [{"location": "/reserved/", "tdm-reservation": 1}, {"location": "/free/", "tdm-reservation": 0}]


class Good(NamedTuple):
    """What the lake must have of a picture."""

    body: bytes
    format: str = "JPEG"
    width: int = WIDTH
    height: int = HEIGHT
    orientation: int = 1
    robots: str = "absent"
    said: tuple[tuple[str, str], ...] = ()  # of the verdict, beside robots


@dataclass
class Run:
    """One ingest of the whole list, the expected outcome of each address, and the servers that were asked."""

    lake: Lake
    counts: IngestCounts
    expected: dict[str, Good | str]  # a picture, or the reason why there is none
    rows: int
    web: ImageServer
    ruled: ImageServer
    secret: bytes
    failures: dict[str, tuple[str, str]] = field(default_factory=dict)
    images: dict[str, dict[str, Any]] = field(default_factory=dict)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def drawn(seed: int, mode: str = "RGB") -> Image.Image:
    """A made-up picture in a mode of Pillow's."""
    image = Image.open(io.BytesIO(jpeg(seed)))
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image.convert(mode)


def turned(kind: str, orientation: int, seed: int) -> Good:
    """A picture whose EXIF asks for a turn: those from 5 on lie on their side."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    width, height = (WIDTH, HEIGHT) if orientation < 5 else (HEIGHT, WIDTH)
    return Good(encoded(drawn(seed), kind, exif=exif), kind, width, height, orientation)


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it has so many pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def swelling_text() -> bytes:
    """A PNG with a compressed text of 10 MB."""
    info = PngInfo()
    info.add_text("Comment", "a" * 10_000_000, zip=True)
    return encoded(drawn(1), "PNG", pnginfo=info)


def odd_pictures() -> dict[str, Good]:
    """Pictures of every kind that viewers show, by path."""
    frames = [drawn(seed) for seed in (20, 21, 22)]
    animated: dict[str, Any] = {"save_all": True, "append_images": frames[1:], "duration": 100}
    clear = drawn(23, "P")
    made = {
        "/cmyk.jpg": Good(encoded(drawn(24, "CMYK"), "JPEG")),
        "/gray.jpg": Good(encoded(drawn(25, "L"), "JPEG")),
        "/progressive.jpg": Good(encoded(drawn(26), "JPEG", progressive=True)),
        "/16-bit.png": Good(encoded(drawn(27, "I;16"), "PNG"), "PNG"),
        "/16-bit.tif": Good(encoded(drawn(27, "I;16"), "TIFF"), "TIFF"),
        "/cmyk.tif": Good(encoded(drawn(28, "CMYK"), "TIFF"), "TIFF"),
        "/1-bit.png": Good(encoded(drawn(29, "1"), "PNG"), "PNG"),
        "/palette.png": Good(encoded(drawn(30, "P"), "PNG"), "PNG"),
        "/palette-clear.png": Good(encoded(clear, "PNG", transparency=0), "PNG"),
        "/palette.bmp": Good(encoded(drawn(31, "P"), "BMP"), "BMP"),
        "/alpha.png": Good(encoded(drawn(32, "RGBA"), "PNG"), "PNG"),
        "/gray-alpha.png": Good(encoded(drawn(33, "LA"), "PNG"), "PNG"),
        "/alpha.webp": Good(encoded(drawn(34, "RGBA"), "WEBP", lossless=True), "WEBP"),
        "/animated.gif": Good(encoded(frames[0].convert("P"), "GIF", **animated), "GIF"),
        "/animated.webp": Good(encoded(frames[0], "WEBP", **animated), "WEBP"),
        "/animated.png": Good(encoded(frames[0], "PNG", **animated), "PNG"),
        "/turned.png": turned("PNG", 6, 35),
        "/turned.webp": turned("WEBP", 8, 36),
        "/one-pixel.png": Good(encoded(Image.new("RGB", (1, 1), "red"), "PNG"), "PNG", 1, 1),
    }
    return made | {f"/turned-{n}.jpg": turned("JPEG", n, 40 + n) for n in range(2, 9)}


def no_pictures() -> dict[str, tuple[bytes, str]]:
    """Bodies that are no whole picture, with the reason, by path; all are served as JPEG."""
    photo, png, gif, webp = (encoded(drawn(50), kind) for kind in ("JPEG", "PNG", "GIF", "WEBP"))
    return {
        **{f"/cut.{kind}": (body[: len(body) // 2], "truncated") for kind, body in (("jpg", photo), ("png", png))},
        **{f"/cut.{kind}": (body[: len(body) // 2], "truncated") for kind, body in (("gif", gif), ("webp", webp))},
        "/broken.jpg": (b"\xff\xd8\xff\xe0" + b"no picture" * 50 + b"\xff\xd9", "decode_error"),
        "/page.jpg": (b"<!DOCTYPE html><html><body>Not here</body></html>", "not_an_image"),
        "/text.jpg": (b"Not here", "not_an_image"),
        "/drawing.svg": (b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', "not_an_image"),
        "/nothing.jpg": (b"", "not_an_image"),
        "/bomb.png": (bomb(30_000, 30_000), "bomb"),
        "/smaller-bomb.png": (bomb(10_000, 10_000), "bomb"),
        "/swelling.png": (swelling_text(), "bomb"),
        "/big.jpg": (photo + bytes(POLICY.max_bytes), "too_large"),
    }


def bodies(web: ImageServer) -> dict[str, Good | str]:
    """What depends on the bytes and the headers of one answer."""
    expected: dict[str, Good | str] = {}
    for path, good in odd_pictures().items():
        expected[web.add(path, good.body)] = good
    for path, (body, reason) in no_pictures().items():
        expected[web.add(path, body)] = reason
    photo = jpeg(60)
    long = f"/{'long/' * 10_000}a.jpg"
    web.add("/%C3%A4%20b/%E6%9D%B1.jpg", photo)
    expected |= {
        web.add("/as-text.jpg", photo, "text/html"): Good(photo),
        web.add("/no-length.jpg", photo, Content_Length="many"): Good(photo),
        web.add("/less.jpg", photo, Content_Length=str(len(photo) - 100)): "truncated",
        web.add("/more.jpg", photo, Content_Length=str(len(photo) + 100)): "truncated",
        web.add("/noai.jpg", photo, X_Robots_Tag="noai"): "opted_out",
        web.add("/noimageai.jpg", photo, X_Robots_Tag="max-snippet: 5, noimageai"): "opted_out",
        web.add("/of-others.jpg", photo, X_Robots_Tag="otherbot: noai"): Good(
            photo, said=(("x_robots_tag", "otherbot: noai"),)
        ),
        web.add("/reserved.jpg", photo, tdm_reservation="1", tdm_policy="http://a.invalid/p"): "opted_out",
        web.add("/free.jpg", photo, tdm_reservation="0"): Good(photo, said=(("tdm_reservation", "0"),)),
        web.add(long, photo): Good(photo),
        web.url("/ä b/東.jpg"): Good(photo),
        web.url(f"/status/414?{'x' * 60_000}"): "bad_url",
    }
    return expected


def conduct(web: ImageServer, ruled: ImageServer, closed: ImageServer, secret: Path) -> dict[str, Good | str]:
    """What depends on how servers behave, and quickly so."""
    photo = jpeg(0)
    ruled.add("/robots.txt", ROBOTS, "text/plain")
    ruled.add("/.well-known/tdmrep.json", json.dumps(MINING).encode(), "application/json")
    for folder in ("private", "no-data-sets", "reserved", "free", "open"):
        ruled.add(f"/{folder}/a.jpg", photo)
    closed.moved["/robots.txt"] = "/status/500"
    web.moved |= {"/ping": "/pong", "/pong": "/ping", "/to-private": ruled.url("/private/a.jpg")}
    web.moved |= {"/elsewhere": ruled.url("/open/a.jpg"), "/nowhere": "", "/to-host": "http://moved.invalid/a.jpg"}
    unicode = web.url("/%C3%A4%20b/%E6%9D%B1.jpg")
    return {
        **dict.fromkeys(map(web.url, ("/loop", "/ping", "/hops/6")), "redirect_loop"),
        web.url("/hops/3"): Good(photo, said=(("final_url", web.url("/hops/0")),)),
        web.url("/elsewhere"): Good(photo, robots="allowed", said=(("final_url", ruled.url("/open/a.jpg")),)),
        web.url("/to?url=/%C3%A4%2520b/%E6%9D%B1.jpg"): Good(jpeg(60), said=(("final_url", unicode),)),
        web.url("/nowhere"): "server_error",
        web.url("/to-host"): "connection",
        web.url("/to-private"): "opted_out",
        **{
            web.url(f"/to?url={there}"): "blocked_scheme" for there in (secret.as_uri(), "ftp://127.0.0.1/a", "data:,x")
        },
        web.url("/to?url=javascript:alert(1)"): "blocked_scheme",
        web.url("/to?url=http://a:b@127.0.0.1/"): "bad_url",
        **dict.fromkeys(map(web.url, ("/endless", "/endless-chunks", "/huge")), "too_large"),
        **dict.fromkeys(map(web.url, ("/garbage", "/many-headers/500", "/long-header/99999")), "connection"),
        web.url("/short"): "truncated",
        web.url("/page"): "not_an_image",
        web.url("/empty"): "not_an_image",
        web.url("/gone.jpg"): "not_found",
        **{web.url(f"/status/{status}"): "forbidden" for status in (401, 403, 451)},
        **{web.url(f"/status/{status}"): "server_error" for status in (302, 304, 500)},
        **dict.fromkeys(map(ruled.url, ("/private/a.jpg", "/no-data-sets/a.jpg", "/reserved/a.jpg")), "opted_out"),
        ruled.url("/open/a.jpg"): Good(photo, robots="allowed"),
        ruled.url("/free/a.jpg"): Good(photo, robots="allowed", said=(("tdm_reservation", "0"),)),
        closed.url("/image/1"): "server_error",
        "http://no-such-host.invalid/a.jpg": "connection",
        "http://bücher.invalid/ä.jpg": "connection",
        "http://127.0.0.1:1/a.jpg": "connection",
        secret.as_uri(): "blocked_scheme",
    }


def waits(web: ImageServer) -> dict[str, Good | str]:
    """What takes its time, so that these stand together in the list: a shard is as slow as its slowest row."""
    return dict.fromkeys(map(web.url, ("/silent", "/drip", "/drip-headers")), "timeout")


def patience(web: ImageServer) -> dict[str, Good | str]:
    """Servers that ask to be left alone for a while: once in the list, each kind by a name of its own for the host."""
    return {
        web.url("/patience/9999", "localhost"): "rate_limited",
        web.url("/limited/9", "127.1"): "rate_limited",
        web.url("/limited/1"): Good(jpeg(0)),
        web.url("/busy/1"): Good(jpeg(0)),
        web.url("/hang-up/1"): Good(jpeg(0)),
        web.url("/hang-up/9"): "connection",
    }


def again(expected: dict[str, Good | str]) -> dict[str, Good | str]:
    """The same things under other addresses."""
    return {f"{url}{'&' if '?' in url else '?'}again": outcome for url, outcome in expected.items()}


def good(web: ImageServer, count: int) -> dict[str, Good | str]:
    """Whole pictures at addresses of their own; every third has the bytes of another."""
    return {web.url(f"/image/{1000 + n - n % 3 // 2}?{n}"): Good(jpeg(1000 + n - n % 3 // 2)) for n in range(count)}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("web")
    secret = folder / "secret.jpg"
    secret.write_bytes(jpeg(4242))
    with (
        ImageServer() as web,
        ImageServer() as ruled,
        ImageServer() as closed,
        Lake.init(folder / "lake") as lake,
        pytest.MonkeyPatch.context() as patch,
    ):
        fast = bodies(web) | conduct(web, ruled, closed, secret)
        first = waits(web) | patience(web) | fast | good(web, 12)
        expected = first | again(fast) | again(waits(web)) | {web.url("/image/1", "localhost"): "rate_limited"}
        urls = [*expected, *list(first)[9:15]]  # six stand in the list twice
        table = folder / "list.csv"
        with table.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("url", "name"), *((url, f"Subject {n}") for n, url in enumerate(urls))])
        patch.setattr(ingest_job, "PICTURES_PER_SHARD", SHARD)
        config = IngestConfig(source="web", inputs=[str(table)], allow_private_hosts=True, fetch=POLICY)
        found = Run(lake, ingest(lake, config), expected, len(urls), web, ruled, secret.read_bytes())
        failed = lake.rows("SELECT source_key, reason, detail FROM fetch_failures")
        found.failures = {key: (reason, detail) for key, reason, detail in failed}
        found.images = {row["source_key"]: row for row in lake.arrow("SELECT * FROM images", []).to_pylist()}
        yield found


def brief(outcomes: dict[str, Any]) -> dict[str, Any]:
    """Long addresses shortened, so that a failing test can be read."""
    return {url if len(url) < 200 else f"{url[:60]} {hash(url)}": outcome for url, outcome in outcomes.items()}


def test_every_row_is_accounted_for(run: Run) -> None:
    counts, pictures = run.counts, sum(isinstance(outcome, Good) for outcome in run.expected.values())
    assert (counts.listed, counts.repeated) == (run.rows, run.rows - len(run.expected))
    assert (counts.images, counts.failures) == (pictures, len(run.expected) - pictures)
    assert (counts.present, counts.failed_before, counts.not_tried, counts.copied) == (0, 0, 0, 0)
    assert not run.images.keys() & run.failures.keys()
    assert run.images.keys() | run.failures.keys() == run.expected.keys()
    assert sum(counts.reasons.values()) == counts.failures


def test_every_failure_has_its_reason(run: Run) -> None:
    expected = {url: outcome for url, outcome in run.expected.items() if isinstance(outcome, str)}
    assert brief({url: reason for url, (reason, _) in run.failures.items()}) == brief(expected)
    for _, detail in run.failures.values():
        assert detail.isprintable()
        assert 0 < len(detail) <= 200
        assert "a:b" not in detail
    for path, said in (
        *(("/noai.jpg", "X-Robots-Tag: noai"), ("/noimageai.jpg", "X-Robots-Tag: noimageai")),
        *(("/reserved.jpg", "tdm-reservation: 1, policy http://a.invalid/p"), ("/to-private", "/private/")),
        *(
            ("/loop", "circle"),
            ("/hops/6", "more than 5"),
            ("/bomb.png", "900000000 pixels"),
            ("/big.jpg", "announced"),
        ),
    ):
        assert said in run.failures[run.web.url(path)][1]


def test_every_picture_is_stored_as_it_was_served_and_known_for_what_it_is(run: Run) -> None:
    expected = {url: outcome for url, outcome in run.expected.items() if isinstance(outcome, Good)}
    stored = dict(run.lake.pictures(sorted({row["image_id"] for row in run.images.values()})))
    found = {}
    for url, row in run.images.items():
        verdict = json.loads(row["verdict"])
        facts = (row["format"], row["width"], row["height"], row["orientation"], verdict.pop("robots"))
        found[url] = Good(stored[row["image_id"]], *facts, tuple(verdict.items()))
        assert row["image_id"] == hashlib.sha256(stored[row["image_id"]]).hexdigest()
        assert (row["n_bytes"], row["url"]) == (len(stored[row["image_id"]]), url)
    assert brief(found) == brief(expected)
    bodies_served = {outcome.body for outcome in expected.values()}
    assert set(stored.values()) == bodies_served
    assert len(bodies_served) < len(expected)  # several addresses gave the same bytes, each is a row of its own
    assert run.secret not in bodies_served


def test_the_workers_were_recycled_and_kept_the_rules(run: Run) -> None:
    """Each worker process asks once for a site's robots.txt, and none works off more than five shards."""
    shards = math.ceil(len(run.expected) / SHARD)
    assert run.web.requests["/robots.txt"] >= shards / SHARDS_OF_A_WORKER > 2 * POLICY.processes
    assert run.ruled.requests["/robots.txt"] > POLICY.processes
    # What robots.txt or tdmrep.json refuses was never asked for, by any of them, whether listed or redirected to.
    for folder in ("private", "no-data-sets", "reserved"):
        assert run.ruled.requests[f"/{folder}/a.jpg"] == 0
    assert run.ruled.requests["/open/a.jpg"] == 4  # listed and redirected to, in both rounds


def test_nobody_is_asked_more_often_than_the_policy_says(run: Run) -> None:
    requests = run.web.requests
    twice = ("/limited/1", "/limited/9", "/busy/1", "/hang-up/1", "/hang-up/9")
    assert {path: requests[path] for path in twice} == dict.fromkeys(twice, 2)
    assert requests["/patience/9999"] == 1
    assert requests["/image/1"] == 0  # of the host that had asked for a long pause
    for path in ("/gone.jpg", "/big.jpg", "/noai.jpg", "/silent", "/endless"):
        assert requests[path] == 2  # once in each round
