"""A site's own files: robots.txt (RFC 9309) and tdmrep.json, each asked for once an origin and kept for the process's life.

=======================================  =====================================================================
robots.txt                               what it means
=======================================  =====================================================================
2xx                                      its rules, of its first 500 KiB
4xx but 429; endless redirects           there are none: everything is allowed
429, 5xx, no answer, a private address   not for now: the picture fails as its own request would, to be tried again
=======================================  =====================================================================

A tdmrep.json that is not there, that cannot be fetched or that is no such list reserves nothing. Of its entries the one
with the longest matching ``location`` counts, as in robots.txt; of two as long, the one that reserves.
"""

import functools
import json
import math
import re
import threading
import time
import urllib.parse
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from captionlake.errors import require
from captionlake.lake.fetch_errors import FetchError, one_line
from captionlake.lake.fetch_policy import FetchPolicy, product_tokens
from captionlake.lake.rights import opted_out

MAX_BYTES = 500 * 1024  # of a site's file that are read, as RFC 9309 asks at the least
NOT_FOR_NOW = 60.0  # seconds until a site that had no answer is asked again
_ORIGINS = 4096  # sites that are remembered at most,
_TEXT = 4_000_000  # and characters of their files

T = TypeVar("T")
FetchFile = Callable[[str], bytes | None]


@dataclass(frozen=True, slots=True)
class Standing:
    """What a site's files say of an address that they do not refuse. ``interval``: seconds between two requests."""

    robots: Literal["allowed", "absent", "ignored"]
    reservation: str | None
    interval: float


class SiteRules:
    """The rules of every site that the process meets. ``fetch`` gives a file's bytes, or None where there is none."""

    def __init__(self, policy: FetchPolicy, fetch: FetchFile) -> None:
        self._policy, self._fetch, self._tokens = policy, fetch, product_tokens(policy)
        self._robots: _OncePerSite[_Robots | None] = _OncePerSite(self._read_robots)
        self._mining: _OncePerSite[_Mining | None] = _OncePerSite(self._read_mining)
        if policy.robots:
            require("protego", extra="download")

    def check(self, url: str) -> Standing:
        """Raises :class:`FetchError` where a file refuses the address, or where the site gives no robots.txt for now."""
        parts = urllib.parse.urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        robots: Literal["allowed", "absent", "ignored"] = "ignored"
        interval = 0.0
        if self._policy.robots:
            found = self._robots.get(origin)
            robots = "absent" if found is None else "allowed"
            if found is not None:
                found.check(path)
                interval = found.interval
        mining = self._mining.get(origin) if self._policy.tdm_reservation else None
        return Standing(robots, mining.check(path) if mining is not None else None, interval)

    def _read_robots(self, origin: str) -> "tuple[_Robots | None, int]":
        body = self._fetch(f"{origin}/robots.txt")
        if body is None:
            return None, 0
        text = body.decode("utf-8-sig", "replace")
        return _Robots(text, self._tokens), len(text)

    def _read_mining(self, origin: str) -> "tuple[_Mining | None, int]":
        try:
            body = self._fetch(f"{origin}/.well-known/tdmrep.json")
            listed = json.loads(body) if body else None
        except (FetchError, ValueError, RecursionError):
            listed = None
        entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
        return (_Mining(entries), len(body or b"")) if entries else (None, 0)


class _Kept(Generic[T]):
    """A site's value, or the failure to get it, and until when it holds."""

    def __init__(self) -> None:
        self.future: Future[T | FetchError] = Future()
        self.until, self.size = math.inf, 0


class _OncePerSite(Generic[T]):
    """A bounded memory in which each site's value is made once, however many threads ask for it at the same time."""

    def __init__(self, make: Callable[[str], tuple[T, int]]) -> None:
        self._make, self._lock, self._size = make, threading.Lock(), 0
        self._kept: OrderedDict[str, _Kept[T]] = OrderedDict()

    def get(self, origin: str) -> T:
        with self._lock:
            kept = self._kept.get(origin)
            mine = kept is None or time.monotonic() > kept.until
            if kept is None or mine:
                self._forget(origin)
                kept = self._kept[origin] = _Kept()
        if mine:
            self._fill(origin, kept)
        value = kept.future.result()
        if isinstance(value, FetchError):
            raise FetchError(value.reason, value.detail)
        return value

    def _fill(self, origin: str, kept: _Kept[T]) -> None:
        value: T | FetchError
        try:
            value, kept.size = self._make(origin)
        except FetchError as error:
            value, kept.until = error, time.monotonic() + NOT_FOR_NOW
        except BaseException as error:
            kept.future.set_exception(error)
            with self._lock:
                self._kept.pop(origin, None)
            raise
        with self._lock:
            if self._kept.get(origin) is kept:
                self._size += kept.size
            while len(self._kept) > 1 and (len(self._kept) > _ORIGINS or self._size > _TEXT):
                self._forget(next(iter(self._kept)))  # the one that was met first
        kept.future.set_result(value)

    def _forget(self, origin: str) -> None:
        if gone := self._kept.pop(origin, None):
            self._size -= gone.size if gone.future.done() else 0


class _Robots:
    """The rules of one robots.txt for all the names that we go by: what refuses any of them refuses us."""

    def __init__(self, text: str, tokens: tuple[str, ...]) -> None:
        self._rules: Any = require("protego", extra="download").Protego.parse(text)
        self._tokens = tokens
        self._refuses = re.search(r"di[a-z]{5,8}", text, re.IGNORECASE) is not None  # however it is spelt
        self._lines = _disallowed(text)
        rates = [rate for token in tokens if (rate := self._rules.request_rate(token))]
        delays = [self._rules.crawl_delay(token) or 0.0 for token in tokens]
        self.interval: float = max([*delays, *(rate.seconds / rate.requests for rate in rates)])

    def check(self, path: str) -> None:
        for token in self._tokens if self._refuses else ():
            if not self._rules.can_fetch(path, token):
                raise opted_out(f"robots.txt: {self._rule(path, token)}")

    def _rule(self, path: str, token: str) -> str:
        """The line that refuses, by a simpler reading of the file than the one that decided."""
        lines = self._lines.get(token, self._lines.get("*", []))
        matching = [line for line in lines[:1000] if matches(line, path)]
        return f"Disallow: {max(matching, key=len)}" if matching else f"not for {token}"


def _disallowed(text: str) -> dict[str, list[str]]:
    """The paths after ``Disallow:`` by the names they are for, in lower case."""
    found: dict[str, list[str]] = {}
    agents: list[str] = []
    ruled = False
    for line in text.splitlines():
        name, _, value = (part.strip() for part in line.partition("#")[0].partition(":"))
        if name.lower() == "user-agent":
            agents = [value.lower()] if ruled else [*agents, value.lower()]
            ruled = False
        elif name.lower() in ("allow", "disallow"):
            ruled = True
            for agent in agents if value and name.lower() == "disallow" else ():
                found.setdefault(agent, []).append(value)
    return found


class _Mining:
    """The entries of one tdmrep.json."""

    def __init__(self, entries: list[dict[str, Any]]) -> None:
        entries = [entry for entry in entries if isinstance(entry.get("location"), str)]
        entries.sort(key=lambda entry: (len(entry["location"]), _reserves(entry)), reverse=True)
        self._entries = [(_pattern(entry["location"]), entry) for entry in entries]

    def check(self, path: str) -> str | None:
        path = _normal(path)
        entry = next((entry for pattern, entry in self._entries if pattern.match(path)), None)
        if entry is None:
            return None
        if not _reserves(entry):
            return "0" if str(entry.get("tdm-reservation")) == "0" else None
        where = entry.get("tdm-policy")
        rule = f"tdmrep.json: tdm-reservation: 1 for {one_line(entry['location'])}"
        raise opted_out(f"{rule}, policy {where}" if where else rule)


def _reserves(entry: dict[str, Any]) -> bool:
    return str(entry.get("tdm-reservation")) == "1"


def matches(pattern: str, path: str) -> bool:
    """Whether a pattern of robots.txt matches a path with its query: from the start, ``*`` anything, ``$`` the end."""
    return _pattern(pattern).match(_normal(path)) is not None


@functools.lru_cache(maxsize=4096)
def _pattern(pattern: str) -> re.Pattern[str]:
    end = pattern.endswith("$")
    # Lazy runs of anything in an atomic group each cannot go back, so a pattern of many stars takes no exponential time.
    first, *rest = (re.escape(_normal(part)) for part in re.split(r"\*+", pattern.removesuffix("$")))
    if not rest:
        return re.compile(first + (r"\Z" if end else ""))
    middle = "".join(f"(?>.*?{part})" for part in (rest[:-1] if end else rest))
    return re.compile(first + middle + (f".*{rest[-1]}\\Z" if end else ""), re.DOTALL)


def _normal(path: str) -> str:
    """Percent-encoded alike, however it was written."""
    return urllib.parse.quote_from_bytes(urllib.parse.unquote_to_bytes(path), safe="/?&=:;,@!~()'+*")
