"""Which addresses of the internet the download may touch, and in what form they are asked."""

import functools
import ipaddress
import socket
import string
import urllib.parse

from captionlake.lake.fetch_errors import FetchError
from captionlake.lake.reasons import FailureReason

# IANA's registries of special-purpose addresses (iana-ipv4-special-registry, iana-ipv6-special-registry), and one
# address of Azure's that is public by number only. What IPv6 has outside 2000::/3 is not public either.
_SPECIAL_V4 = [
    ipaddress.IPv4Network(net)
    for net in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
        *("192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
        *("224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32"),
    )
]
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
_SPECIAL_V6 = [ipaddress.IPv6Network(net) for net in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")]
_EMBEDDED_V4 = [ipaddress.IPv6Network(net) for net in ("::ffff:0:0/96", "64:ff9b::/96")]  # IPv4-mapped, NAT64


@functools.lru_cache(maxsize=4096)
def is_public(address: str) -> bool:
    """Whether a numeric address is one of the public internet.

    An IPv4 address inside an IPv4-mapped or NAT64 address is judged for itself; the other wrappings (6to4, Teredo,
    IPv4-compatible) are refused whole, as is anything with a scope.
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.scope_id is not None:
            return False
        if any(ip in net for net in _EMBEDDED_V4):
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
        return ip in _GLOBAL_V6 and not any(ip in net for net in _SPECIAL_V6)
    return not any(ip in net for net in _SPECIAL_V4)


def clean_url(url: str) -> str:
    """The address in the form that HTTP takes: percent-encoded, host in ASCII. Refuses what is no plain web address."""
    url = url.strip()
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise FetchError(FailureReason.BAD_URL, str(error)) from None
    if not parts.scheme:
        raise FetchError(FailureReason.BAD_URL, "the address has no scheme")
    if parts.scheme not in ("http", "https"):
        raise FetchError(FailureReason.BLOCKED_SCHEME, f"{parts.scheme} is neither http nor https")
    if not host or "@" in parts.netloc or "%" in parts.netloc or "\\" in parts.netloc:
        raise FetchError(FailureReason.BAD_URL, "no host, or one dressed up with @, % or a backslash")
    if url.isascii() and " " not in url:
        return url
    try:
        name = host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise FetchError(FailureReason.BAD_URL, f"the host's name: {error}") from None
    name = f"[{name}]" if ":" in name else name
    path, query = (urllib.parse.quote(part, safe=string.punctuation) for part in (parts.path, parts.query))
    return urllib.parse.urlunsplit((parts.scheme, name if port is None else f"{name}:{port}", path, query, ""))


def check_literal(host: str) -> None:
    """Refuse a numeric host that is not public, in any form that resolvers take for a number; names pass."""
    name = urllib.parse.urlsplit(f"//{host}").hostname or ""
    try:
        address = name if ":" in name else socket.inet_ntoa(socket.inet_aton(name))
    except OSError:
        return
    if not is_public(address):
        raise FetchError(FailureReason.BLOCKED_ADDRESS, f"{host} is not a public address")
