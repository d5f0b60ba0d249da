"""The name and version of a release: ``[release]`` of a recipe, or NAME@VERSION on the command line."""

import re
from typing import Annotated

from pydantic import AfterValidator, ConfigDict
from pydantic.dataclasses import dataclass

NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
# The grammar of semver.org 2.0.0: numbers without leading zeros, then a pre-release, then build metadata.
_NUMBER = r"(?:0|[1-9][0-9]*)"
_PRE = rf"(?:{_NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
VERSION = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-{_PRE}(?:\.{_PRE})*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)


def check_name(name: str) -> str:
    """The name as it came, or ValueError."""
    if len(name) > 96 or not NAME.fullmatch(name):
        raise ValueError(
            "must be lower-case letters, digits, `.`, `_`, `-`, begin with a letter or digit, and have at most 96"
        )
    return name


def check_version(version: str) -> str:
    """The version as it came, or ValueError."""
    if len(version) > 96 or not VERSION.fullmatch(version):
        raise ValueError('must be a semantic version like "1.0.0" or "1.1.0-rc.1"')
    return version


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class ReleaseConfig:
    """The release to make; written name@version, so neither part can hold an ``@``."""

    name: Annotated[str, AfterValidator(check_name)]
    version: Annotated[str, AfterValidator(check_version)]
