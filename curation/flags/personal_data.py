"""``personal_data``: e-mail addresses, telephone numbers, IP addresses, and numbers of accounts and cards.

A detail names the kind and shows the first and last characters alone. Checked beyond their form are telephone numbers (by
phonenumbers, valid ones of their region), accounts (ISO 13616: the remainder by 97 is 1) and cards (the Luhn sum, ISO/IEC 7812).
"""

import ipaddress
import re
from collections.abc import Iterator

from captionlake.curation.flags.config import FlagConfig
from captionlake.curation.flags.flag import Caption, Finding, Flag, Span
from captionlake.errors import require

VERSION = 1
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,20}[^\W\d_]{2,24}\b")
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:])(?:[0-9A-Fa-f]{0,4}:){3,7}[0-9A-Fa-f]{1,4}(?![\w:])")
_VERSION = re.compile(r"(?:version|ver\.?|release|v)\s?$", re.IGNORECASE)
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b")
_CARD = re.compile(r"(?<![\d.,-])(?:\d[ -]?){12,18}\d(?![\d-])")
_CARD_NETWORKS = re.compile(r"4|5[1-5]|2[2-7]|3[47]|3[068]|35|6")  # first digits that are given out
_DIGITS = re.compile(r"\d[\d\s().\-/+]{4,}\d")  # a telephone number has seven digits or more, near one another
_FEWEST = 7


def personal_data(caption: Caption, config: FlagConfig) -> Finding | None:
    """Every kind that is there; one span may not be of two kinds."""
    found: list[tuple[str, Span]] = []
    for kind, span in _candidates(caption.text, config):
        if all(span[1] <= start or end <= span[0] for _, (start, end) in found):
            found.append((kind, span))
    if not found:
        return None
    found.sort(key=lambda each: each[1])
    said = [f"{kind} {masked(caption.text[start:end])}" for kind, (start, end) in found[:5]]
    more = [f"and {len(found) - 5} more"] if len(found) > 5 else []
    return Finding(flag=Flag.PERSONAL_DATA, detail="; ".join([*said, *more]), spans=tuple(span for _, span in found))


def without_personal_data(text: str, config: FlagConfig) -> str:
    """The text with all of these masked, as a detail of another flag must have it."""
    found = personal_data(Caption(text=text), config)
    for start, end in reversed(found.spans if found else ()):
        text = f"{text[:start]}{masked(text[start:end])}{text[end:]}"
    return text


def masked(value: str) -> str:
    """The first and the last character of a value, stars between, as many whatever its length; of an e-mail also its @."""
    inner = "***@***" if "@" in value else "***"
    return f"{value[0]}{inner}{value[-1]}" if len(value) > 4 else inner


def _candidates(text: str, config: FlagConfig) -> Iterator[tuple[str, Span]]:
    if "@" in text:
        yield from (("e-mail", found.span()) for found in _EMAIL.finditer(text))
    if sum(map(text.count, "0123456789")) < 4:
        return
    for found in _IBAN.finditer(text):
        if is_iban(found[0]):
            yield "account", found.span()
    for found in _IPV4.finditer(text):
        if _is_address(found[0]) and not _VERSION.search(text[: found.start()][-10:]):
            yield "IP address", found.span()
    if text.count(":") >= 3:
        yield from (("IP address", found.span()) for found in _IPV6.finditer(text) if _is_address(found[0]))
    near = [found for found in _DIGITS.finditer(text) if sum(map(str.isdigit, found[0])) >= _FEWEST]
    if not near:
        return
    for found in _CARD.finditer(text):
        if is_card(found[0]):
            yield "card", found.span()
    yield from _phones(text, config.phone_regions)


def _phones(text: str, regions: tuple[str, ...]) -> Iterator[tuple[str, Span]]:
    phonenumbers = require("phonenumbers", extra="captions")
    seen: set[Span] = set()
    for region in regions or (None,):
        for found in phonenumbers.PhoneNumberMatcher(text, region, leniency=phonenumbers.Leniency.VALID):
            span = (found.start, found.end)
            if span not in seen:
                seen.add(span)
                yield "phone", span


def _is_address(text: str) -> bool:
    """Of a host: neither unspecified nor a mask."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not (address.is_unspecified or address.is_multicast or text.startswith("255."))


def is_iban(text: str) -> bool:
    """Whether letters and digits make an account's number: the first four moved to the end, letters as 10 to 35, modulo 97 is 1."""
    plain = text.replace(" ", "")
    return 15 <= len(plain) <= 34 and int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1


def is_card(text: str) -> bool:
    """Whether digits are a card's: a network's first ones, and a Luhn sum that ends in 0."""
    digits = [int(c) for c in text if c.isdigit()]
    if not 13 <= len(digits) <= 19 or len(set(digits)) < 2 or not _CARD_NETWORKS.match("".join(map(str, digits))):
        return False
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0
