"""The guard between img2dataset and the network.

img2dataset opens whatever ``urllib`` opens: ``file://``, private addresses, bodies without end. :func:`install` puts a
:class:`GuardedOpener` in urllib's place, for this process. It connects only to addresses that it has itself resolved
and checked, at every redirect; it caps bytes, time and redirects; it asks no site that does not want it, and takes no
picture whose host reserves its use; it limits the connections and the requests to a host; it backs off when a server
asks for patience. Whatever fails leaves as a ``FetchError``, whose text is ``<reason>|<detail>``.

Not bounded here: the resolver. ``getaddrinfo`` has its own time-out, which no Python code can shorten.
"""

import dataclasses
import http.client
import random
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import Any, Generic, TypeVar

from captionlake.lake.addresses import clean_url
from captionlake.lake.fetch_errors import FetchError, explain, refusal
from captionlake.lake.fetch_policy import FetchPolicy
from captionlake.lake.host_limits import HostLimits
from captionlake.lake.reasons import FailureReason
from captionlake.lake.rights import Verdict, frame, judge_reservation, judge_robots_tag
from captionlake.lake.robots import MAX_BYTES, SiteRules, Standing
from captionlake.lake.transport import Transport, Visit, redirect

__all__ = ["BACK_OFF", "LIMITS_VARIABLE", "POLICY_VARIABLE", "Answer", "FetchPolicy", "GuardedOpener", "install"]

POLICY_VARIABLE = "CAPTIONLAKE_FETCH_POLICY"  # the policy as JSON, from the parent to every downloading process
LIMITS_VARIABLE = "CAPTIONLAKE_FETCH_LIMITS"  # the folder in which those processes keep the limits of hosts together
BACK_OFF = 0.5  # seconds: a pause is drawn from 0 to this before the first retry, doubled before each further one
CHUNK = 1 << 16  # bytes a read, where the length of the body is not known

T = TypeVar("T")
_UNRULED = Standing("ignored", None, 0.0)


class Answer:
    """What ``urlopen`` gives to img2dataset: a picture's headers and body, and what its host says of its use."""

    def __init__(self, headers: Message, body: bytes, verdict: Verdict, *, framed: bool = False) -> None:
        self.headers, self.verdict, self._body, self._framed = headers, verdict, body, framed

    def read(self) -> bytes:
        """The body; where ``framed`` is set, behind its verdict (``rights.frame``)."""
        return frame(self._body, self.verdict) if self._framed else self._body

    def __enter__(self) -> "Answer":
        return self

    def __exit__(self, *_: object) -> None: ...


def _read_body(response: http.client.HTTPResponse, limit: int, *, cut: bool = False) -> bytes:
    """The body whole, or with ``cut`` its first ``limit`` bytes; without, a longer one is refused."""
    if response.length is not None and (response.length <= limit or not cut):
        if response.length > limit:
            raise FetchError(FailureReason.TOO_LARGE, f"{response.length} bytes announced, at most {limit} are taken")
        return response.read()
    parts, size = [], 0
    while part := response.read(CHUNK):
        parts.append(part)
        size += len(part)
        if size > limit:
            if cut:
                break
            raise FetchError(FailureReason.TOO_LARGE, f"more than {limit} bytes")
    return b"".join(parts)[:limit]


@dataclasses.dataclass(slots=True)
class _Errand(Generic[T]):
    """What is asked for: under whose clock, what becomes of the answer, and whether the site's files are asked first.

    ``take`` is given the answer, the address that gave it where that is not the one first asked, and the site's rules.
    """

    visit: Visit
    take: Callable[[http.client.HTTPResponse, str | None, Standing], T]
    ruled: bool


@dataclasses.dataclass(frozen=True, slots=True)
class _Elsewhere:
    url: str


class GuardedOpener(urllib.request.OpenerDirector):
    """urllib's opener under a policy; ``before`` is called ahead of every picture and may wait.

    ``limits`` is the folder that processes share to keep the limits of hosts together; ``framed`` puts the verdict
    before each body, for where nothing but the body is passed on.
    """

    def __init__(
        self,
        policy: FetchPolicy,
        before: Callable[[], None] | None = None,
        *,
        limits: Path | None = None,
        framed: bool = False,
    ) -> None:
        super().__init__()
        self._policy, self._before, self._framed = policy, before, framed
        self._transport = Transport(policy)
        self._limits = HostLimits(max(1, policy.per_host // policy.machines), limits)
        self._rules = SiteRules(policy, self._site_file)

    def open(self, fullurl: Any, data: Any = None, timeout: float | None = None) -> Answer:
        """Fetch one picture whole. Only GET: ``data`` and ``timeout`` are the policy's business, not the caller's."""
        if self._before is not None:
            self._before()
        url = clean_url(fullurl if isinstance(fullurl, str) else fullurl.full_url)
        return self._follow(url, _Errand(Visit(self._policy), self._picture, ruled=True))

    def _picture(self, response: http.client.HTTPResponse, final: str | None, standing: Standing) -> Answer:
        robots_tag = judge_robots_tag(response.headers, self._policy)
        reservation = judge_reservation(response.headers, self._policy, standing.reservation)
        verdict = Verdict(robots=standing.robots, x_robots_tag=robots_tag, tdm_reservation=reservation, final_url=final)
        return Answer(response.headers, _read_body(response, self._policy.max_bytes), verdict, framed=self._framed)

    def _site_file(self, url: str) -> bytes | None:
        """A file of a site's own, None where the site has none: robots.txt has no robots.txt over it."""
        errand = _Errand(
            Visit(self._policy), lambda response, *_: _read_body(response, MAX_BYTES, cut=True), ruled=False
        )
        try:
            return self._follow(url, errand)
        except FetchError as error:
            absent = error.status is not None and 400 <= error.status < 500 and error.status != 429
            if absent or error.reason is FailureReason.REDIRECT_LOOP:
                return None
            named = urllib.parse.urlsplit(url).path.rpartition("/")[2]
            raise FetchError(error.reason, f"{named}: {error.detail}") from None

    def _follow(self, url: str, errand: _Errand[T]) -> T:
        seen: set[str] = set()
        while len(seen) <= self._policy.max_redirects and url not in seen:
            seen.add(url)
            asked = time.monotonic()
            standing = self._rules.check(url) if errand.ruled else _UNRULED
            with self._limits.slot(urllib.parse.urlsplit(url).hostname or ""):
                errand.visit.deadline += time.monotonic() - asked
                found = self._try(url, len(seen) > 1, standing, errand)
            if not isinstance(found, _Elsewhere):
                return found
            url = clean_url(found.url)
        raise FetchError(
            FailureReason.REDIRECT_LOOP,
            "redirected in a circle" if url in seen else f"more than {self._policy.max_redirects} redirects",
        )

    def _try(self, url: str, redirected: bool, standing: Standing, errand: _Errand[T]) -> T | _Elsewhere:
        """The answer, or the address it redirects to. The host's slot is kept through the pauses between tries."""
        visit, host = errand.visit, urllib.parse.urlsplit(url).hostname or ""
        while True:
            self._await_turn(host, standing.interval, visit)
            try:
                return self._once(url, redirected, standing, errand)
            except Exception as error:
                failure = explain(error)
            if not failure.again:
                raise failure
            pause = random.uniform(0.0, BACK_OFF * 2 ** (self._policy.retries - visit.retries))
            pause += failure.after or 0.0
            if failure.status is not None:  # the server asks for patience: everybody waits, not this picture alone
                self._limits.pause(host, pause)
            if visit.retries == 0:
                raise failure
            if pause > self._policy.max_pause:
                raise FetchError(failure.reason, f"{failure.detail}; it asks for a pause of {pause:.0f} s")
            visit.retries -= 1
            visit.deadline += pause
            time.sleep(pause)

    def _await_turn(self, host: str, interval: float, visit: Visit) -> None:
        """Wait for the host's next turn, and for the end of its pause; what was waited is added to the picture's time."""
        if self._policy.per_host_rate is not None:
            interval = max(interval, 1 / self._policy.per_host_rate)
        interval *= self._policy.machines
        if interval > self._policy.max_pause:
            raise FetchError(FailureReason.RATE_LIMITED, f"robots.txt: {interval:g} s between two requests to {host}")
        began = time.monotonic()
        if interval:
            time.sleep(self._limits.turn(host, interval))
        while pause := self._limits.paused(host):
            if pause + time.monotonic() - began > self._policy.max_pause:
                raise FetchError(FailureReason.RATE_LIMITED, f"{host} asks for a pause of {pause:.0f} s more")
            time.sleep(pause + random.uniform(0.0, min(pause, BACK_OFF)))  # not all at the same moment
        visit.deadline += time.monotonic() - began

    def _once(self, url: str, redirected: bool, standing: Standing, errand: _Errand[T]) -> T | _Elsewhere:
        with self._transport.ask(url, errand.visit) as response:
            target = redirect(url, response)
            if target is not None:
                return _Elsewhere(target)
            if not 200 <= response.status < 300:
                raise refusal(response.status, response.reason, response.headers)
            return errand.take(response, url if redirected else None, standing)


def install(
    policy: FetchPolicy, before: Callable[[], None] | None = None, *, limits: Path | None = None, framed: bool = False
) -> None:
    """Put the guard in the place of urllib's opener, in this process."""
    urllib.request.install_opener(GuardedOpener(policy, before, limits=limits, framed=framed))
