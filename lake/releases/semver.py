"""Semantic versions 2.0.0 (semver.org): their grammar, and which comes before which."""

import re

# Numbers without leading zeros, then a pre-release, then build metadata.
_NUMBER = r"(?:0|[1-9][0-9]*)"
_PRE = rf"(?:{_NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_VERSION = re.compile(
    rf"({_NUMBER})\.({_NUMBER})\.({_NUMBER})(?:-({_PRE}(?:\.{_PRE})*))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
_LONGEST = 96
WANTED = 'a semantic version like "1.0.0" or "1.1.0-rc.1"'

Precedence = tuple[int, int, int, bool, tuple[tuple[bool, int, str], ...]]


def is_version(text: str) -> bool:
    """Whether it is a semantic version, of at most 96 characters."""
    return len(text) <= _LONGEST and _VERSION.fullmatch(text) is not None


def precedence(version: str) -> Precedence:
    """A key by which versions sort as semver.org says in section 11; build metadata does not count.

    >>> sorted(["1.0.0", "1.0.0-rc.10", "1.0.0-rc.9", "1.0.0-rc.x"], key=precedence)
    ['1.0.0-rc.9', '1.0.0-rc.10', '1.0.0-rc.x', '1.0.0']
    """
    found = _VERSION.fullmatch(version)
    if found is None:
        raise ValueError(f"{version!r} is no semantic version")
    major, minor, patch, pre = found.groups()
    parts = [(False, int(part), "") if part.isdigit() else (True, 0, part) for part in (pre or "").split(".") if part]
    return int(major), int(minor), int(patch), pre is None, tuple(parts)


def parent_version(version: str, others: list[str]) -> str | None:
    """Of the other versions of a name, the highest that is not above this one; None where there is none."""
    below = [other for other in others if other != version and precedence(other) <= precedence(version)]
    return max(below, key=precedence, default=None)
