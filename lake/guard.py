"""The guard between img2dataset and the network.

img2dataset opens whatever ``urllib`` opens: ``file://``, private addresses, bodies without end. :func:`install` puts a
:class:`GuardedOpener` in urllib's place, for this process. It connects only to addresses that it has itself resolved
and checked, at every redirect; it caps bytes, time and redirects; it limits the connections to a host; it backs off
when a server asks for patience. Whatever fails leaves as a ``FetchError``, whose text is ``<reason>|<detail>``.

Not bounded here: the resolver. ``getaddrinfo`` has its own time-out, which no Python code can shorten.
"""

import functools
import http.client
import os
import random
import socket
import ssl
import string
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import field
from email.message import Message
from importlib.metadata import version
from typing import Any

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from captionlake.lake.addresses import check_literal, clean_url, is_public
from captionlake.lake.fetch_errors import FetchError, explain, refusal
from captionlake.lake.reasons import FailureReason

POLICY_VARIABLE = "CAPTIONLAKE_FETCH_POLICY"  # the policy as JSON, from the parent to every downloading process
BACK_OFF = 0.5  # seconds before the first retry; doubled before each further one
CHUNK = 1 << 16  # bytes a read, where the length of the body is not known


def _user_agent() -> str:
    return f"captionlake/{version('captionlake')} (builds image-caption data sets; img2dataset)"


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class FetchPolicy:
    """How pictures are fetched. Times are in seconds.

    ``total_timeout`` bounds one picture with its redirects, retries and pauses; waiting for a free slot of its host
    does not count. A server that asks for a longer pause than is left is not asked again.
    """

    allow_private_hosts: bool = False
    processes: int = Field(default_factory=lambda: min(os.cpu_count() or 1, 16), ge=1, le=256)
    threads: int = Field(default=32, ge=1, le=1024)  # a process
    per_host: int = Field(default=16, ge=1)  # simultaneous connections to a host, a process
    timeout: float = Field(default=10.0, gt=0)  # one wait on a socket
    total_timeout: float = Field(default=60.0, gt=0)
    max_bytes: int = Field(default=20_000_000, ge=1)
    max_redirects: int = Field(default=5, ge=0)
    retries: int = Field(default=2, ge=0, le=10)  # after 429, 503 and lost connections
    user_agent: str = field(default_factory=_user_agent)
    use_proxies: bool = False  # those of the environment; a proxy resolves names itself, out of the guard's sight


class _Visit:
    """One picture on its way: its clock, and the tries that it has left."""

    def __init__(self, policy: FetchPolicy) -> None:
        self.policy = policy
        self.retries = policy.retries
        self.deadline = time.monotonic() + policy.total_timeout

    def left(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise FetchError(FailureReason.TIMEOUT, f"more than {self.policy.total_timeout:g} s in all")
        return left

    def wait(self) -> float:
        """The longest that the next wait on a socket may take."""
        return min(self.policy.timeout, self.left())


class _Socket(socket.socket):
    """A socket on which a slow drip of bytes, headers too, cannot pass the picture's deadline."""

    visit: _Visit

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(self.visit.wait())
        return super().recv_into(*args, **kwargs)


class _TlsSocket(ssl.SSLSocket):
    visit: _Visit | None = None

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        if self.visit is not None:  # absent during the handshake, which OpenSSL bounds as a whole
            self.settimeout(self.visit.wait())
        return super().recv_into(*args, **kwargs)


def _resolve(host: str, port: int, *, check: bool) -> list[tuple[int, int, tuple[Any, ...]]]:
    """Family, protocol and socket address of each address of the host; all must be public where ``check`` is set."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        again = error.errno == socket.EAI_AGAIN
        raise FetchError(FailureReason.CONNECTION, f"no address for {host}: {error.strerror}", again=again) from None
    for *_, address in found:
        if check and not is_public(str(address[0])):
            raise FetchError(FailureReason.BLOCKED_ADDRESS, f"{host} is {address[0]}, which is not a public address")
    return [(family, protocol, address) for family, _, protocol, _, address in found]


class _Connection(http.client.HTTPConnection):
    visit: _Visit
    proxied: bool

    def connect(self) -> None:
        visit = self.visit
        check = not (visit.policy.allow_private_hosts or self.proxied)
        failure: OSError = OSError("no address")
        for family, protocol, address in _resolve(self.host, self.port, check=check):
            sock = _Socket(family, socket.SOCK_STREAM, protocol)
            sock.visit = visit
            try:
                sock.settimeout(visit.wait())
                sock.connect(address)  # a numeric address, the one that was checked: the name is not looked up again
            except OSError as error:
                sock.close()
                failure = error
                continue
            except BaseException:
                sock.close()
                raise
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sock = sock
            if getattr(self, "_tunnel_host", None):
                self._tunnel()  # type: ignore[attr-defined]
            return
        raise failure


class _TlsConnection(http.client.HTTPSConnection, _Connection):
    """The order of the bases matters: HTTPSConnection wraps in TLS what ``_Connection.connect`` connected."""

    def connect(self) -> None:
        super().connect()
        if isinstance(self.sock, _TlsSocket):
            self.sock.visit = self.visit


class _Request(urllib.request.Request):
    visit: _Visit


class _Transport(urllib.request.AbstractHTTPHandler):
    """Opens http and https over the guard's own connections."""

    @functools.cached_property
    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.set_alpn_protocols(["http/1.1"])
        context.sslsocket_class = _TlsSocket
        return context

    def _connect(self, kind: type[_Connection], req: _Request, **options: Any) -> http.client.HTTPResponse:
        def connection(host: str, **more: Any) -> http.client.HTTPConnection:
            made = kind(host, **more, **options)
            made.visit = req.visit
            made.proxied = req.has_proxy() or bool(getattr(req, "_tunnel_host", None))
            return made

        return self.do_open(connection, req)

    def http_open(self, req: _Request) -> http.client.HTTPResponse:
        return self._connect(_Connection, req)

    def https_open(self, req: _Request) -> http.client.HTTPResponse:
        return self._connect(_TlsConnection, req, context=self._tls)

    http_request = https_request = urllib.request.AbstractHTTPHandler.do_request_


class _HostSlots:
    """The limit on simultaneous connections to one host; hosts without a user take no memory."""

    def __init__(self, per_host: int) -> None:
        self._per_host, self._lock = per_host, threading.Lock()
        self._hosts: dict[str, tuple[threading.Semaphore, list[None]]] = {}

    @contextmanager
    def of(self, host: str) -> Iterator[None]:
        with self._lock:
            slots, users = self._hosts.setdefault(host, (threading.Semaphore(self._per_host), []))
            users.append(None)
        try:
            with slots:
                yield
        finally:
            with self._lock:
                users.pop()
                if not users:
                    del self._hosts[host]


class Answer:
    """What ``urlopen`` gives to img2dataset: headers, and a body that has been read or will be under the same caps."""

    def __init__(self, response: http.client.HTTPResponse, visit: _Visit) -> None:
        self.headers: Message = response.headers
        self._response, self._visit, self._body = response, visit, b""
        # img2dataset judges X-Robots-Tag before it reads: where there is one, the body waits for that.
        self._unread = "X-Robots-Tag" in self.headers
        if not self._unread:
            self._body = _read_body(response, visit.policy.max_bytes)
            response.close()

    def read(self) -> bytes:
        if self._unread:
            try:
                self._body = _read_body(self._response, self._visit.policy.max_bytes)
            except Exception as error:
                raise explain(error) from None
            self._unread = False
        return self._body

    def __enter__(self) -> "Answer":
        return self

    def __exit__(self, *_: object) -> None:
        self._response.close()


def _read_body(response: http.client.HTTPResponse, limit: int) -> bytes:
    if response.length is not None:
        if response.length > limit:
            raise FetchError(FailureReason.TOO_LARGE, f"{response.length} bytes announced, at most {limit} are taken")
        return response.read()
    parts, size = [], 0
    while part := response.read(CHUNK):
        parts.append(part)
        size += len(part)
        if size > limit:
            raise FetchError(FailureReason.TOO_LARGE, f"more than {limit} bytes")
    return b"".join(parts)


class GuardedOpener(urllib.request.OpenerDirector):
    """urllib's opener under a policy; ``before`` is called ahead of every picture and may wait."""

    def __init__(self, policy: FetchPolicy, before: Callable[[], None] | None = None) -> None:
        super().__init__()
        self._policy, self._before, self._slots = policy, before, _HostSlots(policy.per_host)
        self._transport = urllib.request.OpenerDirector()
        self._transport.addheaders = []
        if policy.use_proxies:
            self._transport.add_handler(urllib.request.ProxyHandler())
        self._transport.add_handler(_Transport())

    def open(self, fullurl: Any, data: Any = None, timeout: float | None = None) -> Answer:
        """Fetch one picture whole. Only GET: ``data`` and ``timeout`` are the policy's business, not the caller's."""
        if self._before is not None:
            self._before()
        visit = _Visit(self._policy)
        url = clean_url(fullurl if isinstance(fullurl, str) else fullurl.full_url)
        seen: set[str] = set()
        while len(seen) <= self._policy.max_redirects and url not in seen:
            seen.add(url)
            asked = time.monotonic()
            with self._slots.of(urllib.parse.urlsplit(url).hostname or ""):
                visit.deadline += time.monotonic() - asked
                answer = self._try(url, visit)
            if isinstance(answer, Answer):
                return answer
            url = clean_url(answer)
        raise FetchError(
            FailureReason.REDIRECT_LOOP,
            "redirected in a circle" if url in seen else f"more than {self._policy.max_redirects} redirects",
        )

    def _try(self, url: str, visit: _Visit) -> Answer | str:
        """The answer, or the address it redirects to. The host's slot is kept through the pauses between tries."""
        while True:
            try:
                return self._once(url, visit)
            except Exception as error:
                failure = explain(error)
            if not failure.again or visit.retries == 0:
                raise failure
            pause = BACK_OFF * 2 ** (self._policy.retries - visit.retries) * random.uniform(0.5, 1.0)
            if failure.after is not None:
                pause += failure.after
            if pause >= visit.left():
                raise FetchError(failure.reason, f"{failure.detail}; it asks for a pause of {pause:.0f} s")
            visit.retries -= 1
            time.sleep(pause)

    def _once(self, url: str, visit: _Visit) -> Answer | str:
        request = _Request(url, headers={"User-Agent": self._policy.user_agent})
        request.visit = visit
        if self._policy.use_proxies and not self._policy.allow_private_hosts:
            check_literal(request.host)
        response: http.client.HTTPResponse = self._transport.open(request, timeout=self._policy.timeout)
        try:
            location = response.headers.get("Location")
            if response.status in (301, 302, 303, 307, 308) and location:
                # Header bytes come as Latin-1; percent-encoding them so gives the server its own bytes back.
                location = urllib.parse.quote(location, encoding="iso-8859-1", safe=string.punctuation)
                response.close()
                return urllib.parse.urljoin(url, location)
            if not 200 <= response.status < 300:
                raise refusal(response.status, response.reason, response.headers)
            return Answer(response, visit)
        except BaseException:
            response.close()
            raise


def install(policy: FetchPolicy, before: Callable[[], None] | None = None) -> None:
    """Put the guard in the place of urllib's opener, in this process."""
    urllib.request.install_opener(GuardedOpener(policy, before))
