"""What hosts say of the use of their pictures, asked of the guard against a real server."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.message import Message
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from protego import Protego

from captionlake.lake.fetch_errors import FetchError
from captionlake.lake.guard import FetchPolicy, GuardedOpener
from captionlake.lake.rights import Verdict, frame, judge_robots_tag, unframe
from captionlake.lake.robots import SiteRules, matches

from .image_server import ImageServer, jpeg


@pytest.fixture
def server() -> Iterator[ImageServer]:
    with ImageServer() as running:
        yield running


def opener(**policy: Any) -> GuardedOpener:
    return GuardedOpener(FetchPolicy(allow_private_hosts=True, retries=0, timeout=2, **policy))


def fetch(url: str, **policy: Any) -> tuple[bytes, dict[str, Any]]:
    answer = opener(**policy).open(url)
    return answer.read(), json.loads(answer.verdict.to_json())


def refused(url: str, **policy: Any) -> tuple[str, str]:
    with pytest.raises(FetchError) as caught:
        opener(**policy).open(url)
    return str(caught.value.reason), caught.value.detail


def robots(server: ImageServer, text: str) -> None:
    server.add("/robots.txt", text.encode(), "text/plain")


# robots.txt


def test_a_site_without_files_allows_everything(server: ImageServer) -> None:
    assert fetch(server.url("/image/1")) == (jpeg(1), {"robots": "absent"})
    assert server.requests["/robots.txt"] == server.requests["/.well-known/tdmrep.json"] == 1


def test_a_refused_picture_is_not_asked_for_and_the_rule_is_named(server: ImageServer) -> None:
    robots(
        server,
        "User-agent: *\nDisallow: /image/\nDisallow: /image/7*\nAllow: /image/8\n\nUser-agent: x\nDisallow: /image/77",
    )
    assert refused(server.url("/image/1")) == ("opted_out", "robots.txt: Disallow: /image/")
    assert refused(server.url("/image/77")) == ("opted_out", "robots.txt: Disallow: /image/7*")
    assert fetch(server.url("/image/8"))[1] == {"robots": "allowed"}
    assert server.requests["/image/1"] == server.requests["/image/77"] == 0
    assert fetch(server.url("/image/1"), robots=False) == (jpeg(1), {"robots": "ignored"})


@pytest.mark.parametrize("name", ["captionlake", "img2dataset", "IMG2Dataset"])
def test_what_refuses_either_of_our_names_refuses_us(server: ImageServer, name: str) -> None:
    robots(server, f"User-agent: *\nAllow: /\n\nUser-agent: {name}\nDisallow: /\n")
    assert refused(server.url("/image/1")) == ("opted_out", "robots.txt: Disallow: /")


def test_the_name_is_that_of_the_user_agent(server: ImageServer) -> None:
    robots(server, "User-agent: gatherer\nDisallow: /\n")
    assert fetch(server.url("/image/1"))[0] == jpeg(1)
    assert refused(server.url("/image/1"), user_agent="Gatherer/2 (pictures)")[0] == "opted_out"


def test_a_rule_for_others_is_not_for_us(server: ImageServer) -> None:
    robots(server, "User-agent: otherbot\nDisallow: /\n")
    assert fetch(server.url("/image/1")) == (jpeg(1), {"robots": "allowed"})


@pytest.mark.parametrize(("path", "outcome"), [("/status/403", None), ("/status/451", None), ("/loop", None)])
def test_a_robots_txt_that_is_not_given_allows(server: ImageServer, path: str, outcome: None) -> None:
    robots_moves(server, path)
    assert fetch(server.url("/image/1")) == (jpeg(1), {"robots": "absent"})


@pytest.mark.parametrize(
    ("path", "reason"), [("/status/500", "server_error"), ("/silent", "timeout"), ("/hang-up/9", "connection")]
)
def test_a_robots_txt_without_an_answer_is_a_no_for_now(server: ImageServer, path: str, reason: str) -> None:
    robots_moves(server, path)
    asking = opener()
    for _ in range(2):
        with pytest.raises(FetchError, match=rf"{reason}\|robots.txt: "):
            asking.open(server.url("/image/1"))
    assert server.requests["/image/1"] == 0
    assert server.requests["/robots.txt"] == 1  # the second picture asked for nothing
    assert fetch(server.url("/image/1"), robots=False, tdm_reservation=False)[0] == jpeg(1)


def test_a_site_too_busy_for_its_robots_txt_is_left_alone(server: ImageServer) -> None:
    robots_moves(server, "/patience/9999")
    asking = opener()
    for _ in range(2):
        with pytest.raises(FetchError, match="rate_limited"):
            asking.open(server.url("/image/1"))
    assert server.requests["/patience/9999"] == 1


def robots_moves(server: ImageServer, target: str) -> None:
    server.moved["/robots.txt"] = target


def test_a_huge_robots_txt_is_read_as_far_as_its_first_500_kib(server: ImageServer) -> None:
    robots(server, "User-agent: *\nDisallow: /image/1\n" + "# padding\n" * 60_000 + "Disallow: /image/2\n")
    assert refused(server.url("/image/1"))[0] == "opted_out"
    assert fetch(server.url("/image/2"))[0] == jpeg(2)
    robots_moves(server, "/endless")
    assert fetch(server.url("/image/2"))[0] == jpeg(2)


def test_a_robots_txt_that_is_no_text_breaks_nothing(server: ImageServer) -> None:
    server.add("/robots.txt", b"\xef\xbb\xbfUser-agent: *\r\nDisallow: /image/1\r\n\xff\xfe\0" + bytes(range(256)))
    assert refused(server.url("/image/1"))[0] == "opted_out"
    assert fetch(server.url("/image/2"))[0] == jpeg(2)
    robots_moves(server, "/page")
    assert fetch(server.url("/image/1"))[0] == jpeg(1)


def test_where_a_redirect_leads_is_judged_by_the_rules_there(server: ImageServer) -> None:
    with ImageServer() as other:
        robots(other, "User-agent: *\nDisallow: /image/1\n")
        assert refused(server.url(f"/to?url={other.url('/image/1')}"))[0] == "opted_out"
        assert other.requests["/image/1"] == 0
        body, verdict = fetch(server.url(f"/to?url={other.url('/image/2')}"))
        assert (body, verdict) == (jpeg(2), {"robots": "allowed", "final_url": other.url("/image/2")})
        robots_moves(server, other.url("/robots.txt"))
        assert refused(server.url("/image/1"))[0] == "opted_out"


def test_a_site_is_asked_once_by_32_threads(server: ImageServer) -> None:
    asking = opener()
    server.add("/image/3", jpeg(3))
    with ThreadPoolExecutor(32) as pool:
        list(pool.map(lambda _: asking.open(server.url("/image/3")), range(64)))
    assert server.requests["/robots.txt"] == server.requests["/.well-known/tdmrep.json"] == 1
    assert server.requests["/image/3"] == 64


def test_a_site_is_asked_again_when_its_failure_is_old(server: ImageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("captionlake.lake.robots.NOT_FOR_NOW", 0.0)
    robots_moves(server, "/hang-up/1")
    asking = opener()
    with pytest.raises(FetchError, match="connection"):
        asking.open(server.url("/image/1"))
    time.sleep(0.01)
    assert asking.open(server.url("/image/1")).read() == jpeg(1)


def test_the_memory_of_sites_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("captionlake.lake.robots._ORIGINS", 10)
    asked = []

    def fetch_file(url: str) -> bytes | None:
        asked.append(url)
        return b"User-agent: *\nDisallow: /x\n" if url.endswith("robots.txt") else None

    rules = SiteRules(FetchPolicy(tdm_reservation=False), fetch_file)
    for _ in range(2):
        for site in range(20):
            rules.check(f"http://site-{site}.example/a.jpg")
    assert len(asked) == 40
    rules.check("http://site-19.example/b.jpg")
    assert len(asked) == 40


def test_crawl_delay_and_request_rate_are_kept(server: ImageServer) -> None:
    asking = opener()
    robots(server, "User-agent: *\nCrawl-delay: 0.2\nRequest-rate: 10/1s\n")
    began = time.monotonic()
    for number in range(4):
        asking.open(server.url(f"/image/{number}"))
    assert time.monotonic() - began >= 0.6
    robots(server, "User-agent: img2dataset\nCrawl-delay: 86400\n")
    reason, detail = refused(server.url("/image/9"))
    assert (reason, "86400 s between two requests" in detail) == ("rate_limited", True)
    assert server.requests["/image/9"] == 0


@given(st.lists(st.sampled_from(["/a", "/a/b", "/*.jpg", "/*b*$", "/a*c$", "/", "/%C3%BC", "/ü", "*"]), max_size=4))
def test_the_matching_of_one_rule_agrees_with_the_library(patterns: list[str]) -> None:
    paths = ["/", "/a", "/a/b/c", "/x.jpg", "/a/b.jpg?q=1", "/%C3%BC/x", "/bb", "/abc", "/a/c"]
    for pattern in patterns:
        rules = Protego.parse(f"User-agent: *\nDisallow: {pattern}\n")
        for path in paths:
            assert matches(pattern, path) != rules.can_fetch(path, "captionlake"), (pattern, path)


def test_a_pattern_of_many_stars_takes_no_time() -> None:
    began = time.monotonic()
    assert not matches("/" + "*a" * 2000 + "$", "/" + "a" * 1500 + "b")
    assert time.monotonic() - began < 1


# X-Robots-Tag


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        *(("noai", "noai"), ("NoIndex", "noindex"), ("nofollow, noimageai", "noimageai"), ("none", "none")),
        *(("captionlake: noai", "noai"), ("img2dataset:noindex", "noindex"), ("max-snippet: 5, noai", "noai")),
        *(("otherbot: nofollow, img2dataset: noimageindex", "noimageindex"), ("noai, otherbot: all", "noai")),
        *(("unavailable_after: 25 Jun 2010 15:00:00 GMT", "none"), ("unavailable_after: 2011-01-01", "none")),
        ("unavailable_after: Fri, 25 Jun 2010 15:00:00 GMT, nofollow", "none"),
    ],
)
def test_tags_that_refuse(server: ImageServer, value: str, rule: str) -> None:
    url = server.add("/tagged.jpg", jpeg(1), X_Robots_Tag=value)
    assert refused(url) == ("opted_out", f"X-Robots-Tag: {rule}")
    body, verdict = fetch(url, x_robots_tag=False)
    assert (body, verdict["x_robots_tag"]) == (jpeg(1), f"ignored: {value}")


@pytest.mark.parametrize(
    "value",
    [
        *("all", "nofollow", "noarchive, max-image-preview: large", "otherbot: noai", "otherbot: nofollow, noindex"),
        *(
            "unavailable_after: Fri, 25 Jun 2100 15:00:00 GMT",
            "unavailable_after: soon",
            "",
            "noai-not",
            ",,:,",
            "a:b:c",
        ),
        "otherbot: unavailable_after: 25 Jun 2010 15:00:00 GMT",
    ],
)
def test_tags_that_do_not(server: ImageServer, value: str) -> None:
    body, verdict = fetch(server.add("/tagged.jpg", jpeg(1), X_Robots_Tag=value))
    assert (body, verdict["x_robots_tag"]) == (jpeg(1), value)


def test_the_body_of_a_refused_picture_is_not_read(server: ImageServer) -> None:
    url = server.add("/tagged.jpg", b"x" * 1000, X_Robots_Tag="noai")
    assert refused(url, max_bytes=10)[0] == "opted_out"  # not too_large


@given(st.lists(st.text(st.characters(exclude_categories=["Cc", "Cs"])), max_size=3))
def test_no_tag_breaks_the_judge(values: list[str]) -> None:
    headers = Message()
    for value in values:
        headers["X-Robots-Tag"] = value
    try:
        said = judge_robots_tag(headers, FetchPolicy())
    except FetchError as error:
        assert error.reason == "opted_out"
    else:
        assert (said is None) == (not values)


# The reservation of text and data mining


def test_a_reservation_in_the_header(server: ImageServer) -> None:
    url = server.add("/a.jpg", jpeg(1), tdm_reservation="1", tdm_policy="https://x.example/terms.json")
    assert refused(url) == ("opted_out", "tdm-reservation: 1, policy https://x.example/terms.json")
    body, verdict = fetch(url, tdm_reservation=False)
    assert body == jpeg(1)
    assert verdict["tdm_reservation"].startswith("ignored: tdm-reservation: 1")
    assert fetch(server.add("/b.jpg", jpeg(2), tdm_reservation="0"))[1]["tdm_reservation"] == "0"
    assert "tdm_reservation" not in fetch(server.add("/c.jpg", jpeg(3), tdm_reservation="maybe"))[1]


def test_a_reservation_for_the_site(server: ImageServer) -> None:
    entries = [
        {"location": "/image/*", "tdm-reservation": 0},
        {"location": "/image/1", "tdm-reservation": 1, "tdm-policy": "https://x.example/p"},
        {"location": "/image/1", "tdm-reservation": 0},
        {"location": "*.gif$", "tdm-reservation": "1"},
        *({"location": 5}, "nonsense", {"tdm-reservation": 1}),
    ]
    server.add("/.well-known/tdmrep.json", json.dumps(entries).encode(), "application/json")
    rule = "tdmrep.json: tdm-reservation: 1 for /image/1, policy https://x.example/p"
    assert refused(server.url("/image/17")) == ("opted_out", rule)
    assert server.requests["/image/17"] == 0
    assert fetch(server.url("/image/2"))[1] == {"robots": "absent", "tdm_reservation": "0"}
    assert refused(server.url("/made/up.gif"))[0] == "opted_out"
    assert fetch(server.add("/plain.jpg", jpeg(4)))[1] == {"robots": "absent"}
    assert fetch(server.url("/image/17"), tdm_reservation=False)[0] == jpeg(17)


@pytest.mark.parametrize("body", [b"", b"{", b"{}", b"[", b"[[[]]]", b"<html>", b"[" * 100_000, b"null", b"\xff"])
def test_a_list_that_is_none_reserves_nothing(server: ImageServer, body: bytes) -> None:
    server.add("/.well-known/tdmrep.json", body, "application/json")
    assert fetch(server.url("/image/1"))[0] == jpeg(1)


@pytest.mark.parametrize("path", ["/status/500", "/loop", "/hang-up/9"])
def test_a_list_that_does_not_come_reserves_nothing(server: ImageServer, path: str) -> None:
    server.moved["/.well-known/tdmrep.json"] = path
    assert fetch(server.url("/image/1"))[0] == jpeg(1)


# On its way from the downloading process


@given(st.binary(), st.text(), st.sampled_from(["allowed", "absent", "ignored"]))
def test_a_verdict_travels_with_the_bytes(body: bytes, text: str, said: Any) -> None:
    verdict = Verdict(robots=said, x_robots_tag=text or None)
    told, back = unframe(frame(body, verdict))
    assert back == body
    assert json.loads(told or "") == {"robots": said} | ({"x_robots_tag": text} if text else {})


def test_bytes_without_a_verdict_are_left_as_they_are() -> None:
    assert unframe(jpeg(1)) == (None, jpeg(1))
