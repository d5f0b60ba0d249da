"""HTTP over connections of the guard's own: to addresses that were resolved and checked, within the picture's time."""

import functools
import http.client
import socket
import ssl
import string
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from captionlake.lake.addresses import check_literal, is_public
from captionlake.lake.fetch_errors import FetchError
from captionlake.lake.fetch_policy import FetchPolicy
from captionlake.lake.reasons import FailureReason


class Visit:
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

    visit: Visit

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(self.visit.wait())
        return super().recv_into(*args, **kwargs)


class _TlsSocket(ssl.SSLSocket):
    visit: Visit | None = None

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
    visit: Visit
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
    visit: Visit


class _Handler(urllib.request.AbstractHTTPHandler):
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


class Transport:
    """Asks one address once; follows nothing, retries nothing, judges no status."""

    def __init__(self, policy: FetchPolicy) -> None:
        self._policy = policy
        self._opener = urllib.request.OpenerDirector()
        self._opener.addheaders = []
        if policy.use_proxies:
            self._opener.add_handler(urllib.request.ProxyHandler())
        self._opener.add_handler(_Handler())

    def ask(
        self, url: str, visit: Visit, *, method: str = "GET", headers: Mapping[str, str] | None = None
    ) -> http.client.HTTPResponse:
        """The answer, its body unread. ``url`` is one that ``clean_url`` gave."""
        request = _Request(url, headers={"User-Agent": self._policy.user_agent, **(headers or {})}, method=method)
        request.visit = visit
        if self._policy.use_proxies and not self._policy.allow_private_hosts:
            check_literal(request.host)
        response: http.client.HTTPResponse = self._opener.open(request, timeout=self._policy.timeout)
        return response


def redirect(url: str, response: http.client.HTTPResponse) -> str | None:
    """Where the answer sends us, if it does."""
    location = response.headers.get("Location")
    if response.status not in (301, 302, 303, 307, 308) or not location:
        return None
    # Header bytes come as Latin-1; percent-encoding them so gives the server its own bytes back.
    return urllib.parse.urljoin(url, urllib.parse.quote(location, encoding="iso-8859-1", safe=string.punctuation))
