"""How pictures are fetched: the limits, the manners and the name that the download goes by."""

import os
import re
from dataclasses import field
from importlib.metadata import version

from pydantic import ConfigDict, Field, field_validator
from pydantic.dataclasses import dataclass

DOWNLOADER = "img2dataset"  # what asks in our name: a site that refuses it refuses us


def _user_agent() -> str:
    return f"captionlake/{version('captionlake')} (builds image-caption data sets; {DOWNLOADER})"


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class FetchPolicy:
    """How pictures are fetched. Times are in seconds.

    ``total_timeout`` bounds one picture with its redirects and retries; waiting for a slot of its host, for the host's
    next turn or through a pause that the host asks for does not count. A host that asks for a longer pause than
    ``max_pause`` is left alone for that time: its pictures fail as rate_limited without being asked for.
    """

    allow_private_hosts: bool = False
    processes: int = Field(default_factory=lambda: min(os.cpu_count() or 1, 16), ge=1, le=256)
    threads: int = Field(default=32, ge=1, le=1024)  # a process
    per_host: int = Field(default=16, ge=1, le=4096)  # simultaneous connections to a host, of all processes together
    per_host_rate: float | None = Field(default=None, gt=0, allow_inf_nan=False)  # requests a second to a host, in all
    machines: int = Field(default=1, ge=1)  # that fetch side by side, each with its share of the limits of hosts
    timeout: float = Field(default=10.0, gt=0)  # one wait on a socket
    total_timeout: float = Field(default=60.0, gt=0)
    max_pause: float = Field(default=600.0, ge=0, allow_inf_nan=False)  # that a host may ask for
    max_bytes: int = Field(default=20_000_000, ge=1)
    max_redirects: int = Field(default=5, ge=0)
    retries: int = Field(default=2, ge=0, le=10)  # after 429, 503 and lost connections
    user_agent: str = field(default_factory=_user_agent)
    use_proxies: bool = False  # those of the environment; a proxy resolves names itself, out of the guard's sight
    robots: bool = True  # honour robots.txt
    x_robots_tag: bool = True  # honour the header X-Robots-Tag
    tdm_reservation: bool = True  # honour tdmrep.json and the header tdm-reservation

    @field_validator("user_agent")
    @classmethod
    def _one_header_line(cls, value: str) -> str:
        if not (value.isascii() and value.isprintable()):
            raise ValueError("a user agent is one line of printable ASCII")
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9._-]*", product_token(value)):
            raise ValueError("a user agent starts with the name of a product, such as captionlake/1.0: letters, then /")
        return value


def product_token(user_agent: str) -> str:
    """The name that robots.txt and X-Robots-Tag know the client by: what stands before the version."""
    return user_agent.split("/", 1)[0].split(" ", 1)[0]


def product_tokens(policy: FetchPolicy) -> tuple[str, ...]:
    """The names whose rules are ours, in lower case."""
    return tuple(dict.fromkeys((product_token(policy.user_agent).lower(), DOWNLOADER)))
