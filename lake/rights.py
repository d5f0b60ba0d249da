"""What a host says of the use of its pictures, and how that is recorded with each of them.

Three ways of saying it are honoured: robots.txt (``robots.py``), the header ``X-Robots-Tag`` in the syntax that Google
documents, with the directives ``noai`` and ``noimageai`` beside the older ones, and the reservation of text and data
mining by the TDM Reservation Protocol, a report of a W3C community group: the header ``tdm-reservation``, or
``/.well-known/tdmrep.json`` for a whole site. A refusal is a failed row with the reason opted_out.
"""

import email.utils
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import Message
from typing import Literal

from captionlake.lake.fetch_errors import FetchError, one_line
from captionlake.lake.fetch_policy import FetchPolicy, product_tokens
from captionlake.lake.reasons import FailureReason

REFUSALS = frozenset({"noai", "noimageai", "noindex", "noimageindex", "none"})
_EXPIRY = re.compile(r"unavailable_after\s*:\s*((?:[a-z]{3,9},\s*)?[^,]*)", re.IGNORECASE)
_SCOPE = re.compile(r"\s*([A-Za-z][\w.-]*)\s*:(.*)", re.DOTALL)  # "otherbot: noai"
_VALUED = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})
_FRAME = b"\x00captionlake\x00"  # no format of pictures begins so


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was found for a picture that came, as JSON in ``images.verdict``; fields that are None are left out.

    ``robots`` says whether a robots.txt allows the picture, whether there is none, or whether the policy ignores it.
    ``x_robots_tag`` is the header's text. ``tdm_reservation`` is ``0`` where the host says that nothing is reserved. A
    text that would have refused the picture under the default policy has ``ignored:`` before it. ``final_url`` is the
    address that gave the picture, where redirects led to another one.
    """

    robots: Literal["allowed", "absent", "ignored"]
    x_robots_tag: str | None = None
    tdm_reservation: str | None = None
    final_url: str | None = None

    def to_json(self) -> str:
        found = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return json.dumps({name: value for name, value in found.items() if value is not None})


def opted_out(rule: str) -> FetchError:
    return FetchError(FailureReason.OPTED_OUT, rule)


def judge_robots_tag(headers: Message, policy: FetchPolicy) -> str | None:
    """The text of ``X-Robots-Tag`` for the verdict; raises where it refuses the picture."""
    values = headers.get_all("X-Robots-Tag")
    if not values:
        return None
    said = one_line("; ".join(map(str, values)))
    tokens = product_tokens(policy)
    rule = next((found for value in values for found in _refusals(str(value), tokens)), None)
    if rule is None:
        return said
    if policy.x_robots_tag:
        raise opted_out(f"X-Robots-Tag: {rule}")
    return f"ignored: {said}"


def _refusals(value: str, tokens: tuple[str, ...]) -> Iterator[str]:
    """The directives of one header that refuse us. ``name:`` addresses what follows to the client of that name."""
    ours = True

    def expired(match: re.Match[str]) -> str:
        """A picture that was to vanish by a date that is past counts as ``none`` for whom the header addresses."""
        return "none" if _is_past(match[1]) else ""

    for part in _EXPIRY.sub(expired, value).split(","):
        scope = _SCOPE.match(part)
        if scope and scope[1].lower() not in _VALUED:
            ours, part = scope[1].lower() in tokens, scope[2]
        if ours and part.strip().lower() in REFUSALS:
            yield part.strip().lower()


def _is_past(date: str) -> bool:
    try:
        found = email.utils.parsedate_to_datetime(date)
    except (ValueError, TypeError):
        try:
            found = datetime.fromisoformat(date.strip())
        except ValueError:
            return False
    return (found if found.tzinfo else found.replace(tzinfo=UTC)) < datetime.now(UTC)


def judge_reservation(headers: Message, policy: FetchPolicy, of_site: str | None) -> str | None:
    """``tdm-reservation`` for the verdict, the header's before the site's; raises where the header reserves."""
    values = [str(value).strip() for value in headers.get_all("tdm-reservation", [])]
    if "1" in values:
        where = headers.get("tdm-policy")
        rule = "tdm-reservation: 1" + (f", policy {where}" if where else "")
        if policy.tdm_reservation:
            raise opted_out(rule)
        return f"ignored: {one_line(rule)}"
    return "0" if "0" in values else of_site


def frame(body: bytes, verdict: Verdict) -> bytes:
    """The body behind its verdict. img2dataset passes bytes on as they are, and nothing else."""
    told = verdict.to_json().encode()
    return b"".join((_FRAME, len(told).to_bytes(4, "little"), told, body))


def unframe(data: bytes) -> tuple[str | None, bytes]:
    """The verdict, None where there is no frame, and the body."""
    if not data.startswith(_FRAME):
        return None, data
    start = len(_FRAME) + 4
    end = start + int.from_bytes(data[len(_FRAME) : start], "little")
    return data[start:end].decode(), data[end:]
