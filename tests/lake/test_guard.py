"""The guard, asked through urllib as img2dataset asks it, against a real server."""

import ipaddress
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from captionlake.lake.addresses import clean_url, is_public
from captionlake.lake.fetch_errors import FetchError, one_line, retry_after
from captionlake.lake.fetch_policy import product_tokens
from captionlake.lake.guard import FetchPolicy, GuardedOpener
from captionlake.lake.reasons import FailureReason

from .image_server import ImageServer, jpeg

# The files of a site's own are tested in test_robots.py; without them a picture is one request.
OPEN: dict[str, Any] = {"allow_private_hosts": True, "robots": False, "tdm_reservation": False}


@pytest.fixture(scope="module")
def server() -> Iterator[ImageServer]:
    with ImageServer() as running:
        yield running


def fetch(url: str, **policy: Any) -> bytes:
    with GuardedOpener(FetchPolicy(**{**OPEN, **policy})).open(urllib.request.Request(url)) as answer:
        return answer.read()


def refused(url: str, **policy: Any) -> tuple[str, str]:
    """Reason and detail, read from the text that img2dataset records."""
    with pytest.raises(FetchError) as caught:
        fetch(url, **policy)
    assert "\n" not in str(caught.value)
    reason, _, detail = str(caught.value).partition("|")
    return reason, detail


def test_a_picture_comes_whole_and_the_client_says_who_it_is(server: ImageServer) -> None:
    assert fetch(server.url("/image/5")) == jpeg(5)
    assert server.headers["/image/5"]["User-Agent"].startswith("captionlake/")
    assert fetch(server.url("/image/6"), user_agent="somebody/1") == jpeg(6)
    assert server.headers["/image/6"]["User-Agent"] == "somebody/1"


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        *((404, "not_found"), (410, "not_found"), (401, "forbidden"), (403, "forbidden"), (451, "forbidden")),
        *((400, "bad_url"), (418, "forbidden"), (408, "timeout"), (500, "server_error"), (304, "server_error")),
    ],
)
def test_statuses_have_a_reason_each_and_are_asked_once(server: ImageServer, status: int, reason: str) -> None:
    before = server.requests[f"/status/{status}"]
    assert refused(server.url(f"/status/{status}"))[0] == reason
    assert server.requests[f"/status/{status}"] == before + 1


def test_a_server_that_asks_for_patience_gets_it(server: ImageServer) -> None:
    began = time.monotonic()
    assert fetch(server.url("/limited/1")) == jpeg(0)
    assert time.monotonic() - began >= 1.0
    assert server.requests["/limited/1"] == 2
    assert fetch(server.url("/busy/2"), retries=2) == jpeg(0)
    assert fetch(server.url("/hang-up/1")) == jpeg(0)


def test_retries_end(server: ImageServer) -> None:
    assert refused(server.url("/status/429"), retries=1)[0] == "rate_limited"
    assert server.requests["/status/429"] == 2
    assert refused(server.url("/status/503"), retries=0)[0] == "server_error"
    assert server.requests["/status/503"] == 1
    assert refused(server.url("/hang-up/9"), retries=1)[0] == "connection"
    assert server.requests["/hang-up/9"] == 2


def test_a_pause_longer_than_the_time_left_is_not_begun(server: ImageServer) -> None:
    began = time.monotonic()
    opener = GuardedOpener(FetchPolicy(**OPEN))
    for words in ("it asks for a pause of", "asks for a pause of"):
        with pytest.raises(FetchError, match=rf"rate_limited\|.*{words} (9999|10000) s") as caught:
            opener.open(server.url("/patience/9999"))
    assert "more" in caught.value.detail  # the second one was not asked for
    with pytest.raises(FetchError, match="rate_limited"):
        opener.open(server.url("/image/5"))  # nor is anything else of that host
    assert server.requests["/patience/9999"] == 1
    assert opener.open(server.url("/image/5", "localhost")).read() == jpeg(5)
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("path", ["/drip", "/drip-headers"])
def test_a_slow_drip_ends_at_the_total_time(server: ImageServer, path: str) -> None:
    began = time.monotonic()
    assert refused(server.url(path), timeout=5, total_timeout=0.5)[0] == "timeout"
    assert time.monotonic() - began < 2


def test_silence_ends_at_the_time_of_one_wait(server: ImageServer) -> None:
    began = time.monotonic()
    assert refused(server.url("/silent"), timeout=0.3)[0] == "timeout"
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("path", ["/endless", "/endless-chunks", "/huge"])
def test_too_many_bytes_are_not_read(server: ImageServer, path: str) -> None:
    assert refused(server.url(path), max_bytes=1_000_000)[0] == "too_large"


def test_the_cap_is_on_the_byte(server: ImageServer) -> None:
    size = len(jpeg(9))
    assert fetch(server.url("/image/9"), max_bytes=size) == jpeg(9)
    assert refused(server.url("/image/9"), max_bytes=size - 1)[0] == "too_large"


def test_a_body_shorter_than_announced_is_truncated(server: ImageServer) -> None:
    assert refused(server.url("/short"), retries=1)[0] == "truncated"
    assert server.requests["/short"] == 2


def test_redirects_are_followed_as_far_as_the_policy_goes(server: ImageServer) -> None:
    assert fetch(server.url("/hops/5")) == jpeg(0)
    assert refused(server.url("/hops/6")) == ("redirect_loop", "more than 5 redirects")
    assert refused(server.url("/hops/1"), max_redirects=0)[0] == "redirect_loop"
    assert refused(server.url("/loop")) == ("redirect_loop", "redirected in a circle")
    assert server.requests["/loop"] == 1


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        *(
            ("file:///etc/passwd", "blocked_scheme"),
            ("ftp://127.0.0.1/x", "blocked_scheme"),
            ("data:,x", "blocked_scheme"),
        ),
        *(("http://user:secret@127.0.0.1/", "bad_url"), ("http://[::1", "bad_url")),
    ],
)
def test_redirects_elsewhere_are_not_followed(server: ImageServer, target: str, reason: str) -> None:
    got, detail = refused(server.url(f"/to?url={target}"))
    assert got == reason
    assert "secret" not in detail


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0.0.0.0", "[::1]", "[::]"),
        *("[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "169.254.169.254", "10.0.0.1", "192.168.0.1", "[fe80::1]"),
        *("100.64.0.1", "168.63.129.16", "[2002:7f00:1::]", "[2001:0:1::]", "[fc00::1]", "224.0.0.1"),
    ],
)
def test_no_private_address_is_connected_to(server: ImageServer, host: str) -> None:
    before = server.connections
    assert refused(f"http://{host}:{server.port}/image/1", allow_private_hosts=False)[0] == "blocked_address"
    assert server.connections == before


def test_every_address_of_a_host_must_be_public(server: ImageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The resolver here gives what a hostile name server would: a public address first, then a private one."""
    asked: list[str] = []

    def resolver(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in ("8.8.8.8", "127.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    before = server.connections
    assert refused(f"http://rebind.example:{server.port}/", allow_private_hosts=False)[0] == "blocked_address"
    assert server.connections == before
    assert asked == ["rebind.example"]


def test_a_name_is_resolved_once_for_a_connection(server: ImageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = socket.getaddrinfo

    def resolver(host: str, port: int, **options: Any) -> list[Any]:
        asked.append(host)
        return real("127.0.0.1", port, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    assert fetch(f"http://name.example:{server.port}/image/1") == jpeg(1)
    assert asked == ["name.example"]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        *(("file:///etc/passwd", "blocked_scheme"), ("gopher://x/", "blocked_scheme"), ("images/a.jpg", "bad_url")),
        *(("http://", "bad_url"), ("http://a@127.0.0.1/", "bad_url"), ("http://%31.0.0.1/", "bad_url")),
        *(("http://h:99999/", "bad_url"), ("http://[::1/", "bad_url"), ("http://host\\@127.0.0.1/", "bad_url")),
        *(("http://no-such-host.invalid/x", "connection"), ("http://127.0.0.1:1/x", "connection")),
        ("http://127.0.0.1/a\x00b", "bad_url"),
    ],
)
def test_addresses_that_are_none(url: str, reason: str) -> None:
    with pytest.raises(FetchError) as caught:
        GuardedOpener(FetchPolicy(**OPEN, retries=0)).open(url)
    assert caught.value.reason == reason


def test_spaces_and_foreign_letters_are_encoded(server: ImageServer) -> None:
    assert clean_url("http://bücher.example/ä b.jpg?q=ü%20x") == (
        "http://xn--bcher-kva.example/%C3%A4%20b.jpg?q=%C3%BC%20x"
    )
    server.add("/%C3%A4%20b.jpg", jpeg(3))
    assert fetch(server.url("/ä b.jpg")) == jpeg(3)
    assert fetch(server.url("/to?url=/%C3%A4%2520b.jpg")) == jpeg(3)


def test_connections_to_a_host_are_limited() -> None:
    opener = GuardedOpener(FetchPolicy(**OPEN, per_host=3, total_timeout=1.0))
    with ImageServer() as server, ThreadPoolExecutor(24) as pool:
        bodies = list(pool.map(lambda _: opener.open(server.url("/slow/0.2")).read(), range(24)))
    assert len(bodies) == 24  # although the last ones waited longer than total_timeout for their slot
    assert server.peak == 3


def test_proxies_of_the_environment_are_used_only_on_request(
    server: ImageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ImageServer() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url(""))
        monkeypatch.delenv("no_proxy", raising=False)
        assert fetch(server.url("/image/1")) == jpeg(1)
        assert proxy.connections == 0
        assert refused("http://192.0.2.7/x", use_proxies=True, retries=0)[0] == "not_found"
        assert proxy.connections == 1
        numbers = ("127.0.0.1", "2130706433", "[::1]")
        for host in numbers:
            url = f"http://{host}:{server.port}/image/1"
            assert refused(url, use_proxies=True, allow_private_hosts=False)[0] == "blocked_address"
        assert proxy.connections == 1


def test_https_is_verified_and_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real TLS server with a certificate of its own making: refused, then trusted, then dripping."""
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *name, "-keyout", key, "-out", cert],
        check=True,
        capture_output=True,
    )

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None: ...

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            for _ in range(10 if self.path == "/whole" else 1000):
                self.wfile.write(b"x" * (100 if self.path == "/whole" else 1))
                time.sleep(0 if self.path == "/whole" else 0.1)

    class Quiet(ThreadingHTTPServer):
        daemon_threads, block_on_close = True, False

        def handle_error(self, *_: Any) -> None: ...

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    with Quiet(("127.0.0.1", 0), Handler) as https:
        https.socket = context.wrap_socket(https.socket, server_side=True)
        threading.Thread(target=https.serve_forever, args=(0.05,), daemon=True).start()
        url = f"https://localhost:{https.server_address[1]}"
        reason, detail = refused(f"{url}/whole")
        assert (reason, "verif" in detail.lower()) == ("connection", True)
        monkeypatch.setenv("SSL_CERT_FILE", str(cert))
        assert fetch(f"{url}/whole") == b"x" * 1000
        began = time.monotonic()
        assert refused(f"{url}/drip", timeout=5, total_timeout=0.5)[0] == "timeout"
        assert time.monotonic() - began < 2
        assert refused(f"{url}/whole", allow_private_hosts=False)[0] == "blocked_address"
        https.shutdown()


def test_a_policy_refuses_what_it_does_not_know() -> None:
    wrongs: list[dict[str, Any]] = [{"thread": 3}, {"threads": 0}, {"timeout": -1}, {"max_bytes": 0}]
    wrongs += [{"per_host_rate": 0}, {"per_host_rate": float("inf")}, {"per_host": 5000}]
    wrongs += [{"user_agent": agent} for agent in ("", " ", "/1.0", "a\r\nX: y", "a\0", "näme/1", "(x)", "1/2")]
    for wrong in wrongs:
        with pytest.raises(ValidationError):
            FetchPolicy(**wrong)


def test_the_user_agent_says_who_asks_and_what_for() -> None:
    agent = FetchPolicy().user_agent
    assert agent.startswith(f"captionlake/{version('captionlake')} (builds image-caption data sets")
    assert "data sets" in agent
    assert product_tokens(FetchPolicy()) == ("captionlake", "img2dataset")
    assert product_tokens(FetchPolicy(user_agent="Our-Bot/2 (x)")) == ("our-bot", "img2dataset")
    assert product_tokens(FetchPolicy(user_agent="img2dataset")) == ("img2dataset",)


def test_retry_after_is_seconds_or_a_date() -> None:
    assert retry_after("17") == 17
    assert retry_after(None) is retry_after("soon") is retry_after("-3") is None
    assert 50 < (retry_after(formatdate(time.time() + 60, usegmt=True)) or 0) <= 60
    assert retry_after(formatdate(time.time() - 60, usegmt=True)) == 0


@given(
    st.text(), st.text(alphabet=st.characters(exclude_characters="@/?#", exclude_categories=["Z", "C"]), min_size=12)
)
def test_details_are_one_clean_line(noise: str, secret: str) -> None:
    error = FetchError(FailureReason.CONNECTION, f"{noise}\n\x1b[31mhttp://user:{secret}@host/ {noise}")
    assert error.detail == one_line(error.detail)
    assert error.detail.isprintable()
    assert f"user:{secret}" not in error.detail
    assert str(error).partition("|")[0] == "connection"


# Which addresses are public

SPECIAL_V4 = [
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.2.0/24"),
    *("192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
]
SPECIAL_V6 = [
    "::/96",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
    "2001:db8::/32",
    "2002::/16",
    "2001::/32",
    "100::/64",
]


def inside(networks: list[str]) -> st.SearchStrategy[Any]:
    return st.sampled_from(networks).flatmap(lambda net: st.ip_addresses(network=net))


@given(inside([*SPECIAL_V4, *SPECIAL_V6]))
def test_no_special_address_is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert not is_public(str(address))


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_the_same_in_every_wrapping(address: ipaddress.IPv4Address) -> None:
    public = is_public(str(address))
    assert is_public(f"::ffff:{address}") == public
    assert is_public(str(ipaddress.IPv6Address(int(ipaddress.IPv6Address("64:ff9b::")) + int(address)))) == public
    assert not is_public(str(ipaddress.IPv6Address((0x2002 << 112) | (int(address) << 80))))  # 6to4
    assert not is_public(f"::{address}")


@given(st.ip_addresses())
def test_what_is_public_is_global_to_the_standard_library_too(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    mapped = getattr(address, "ipv4_mapped", None)
    if is_public(str(address)):
        judged = mapped or address
        assert judged.is_global and not judged.is_multicast and not judged.is_unspecified


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "151.101.1.69", "2606:4700::1111", "2a00:1450:4001::1"])
def test_the_public_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", ["", "localhost", "1.2.3", "8.8.8.8/32", "fe80::1%eth0", "2606:4700::1%1"])
def test_what_is_no_plain_address_is_not_public(address: str) -> None:
    assert not is_public(address)
