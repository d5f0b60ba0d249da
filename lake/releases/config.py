"""``[release]`` of a recipe: name, version, and how the rows are split."""

import re
from dataclasses import field
from typing import Annotated

from pydantic import AfterValidator, ConfigDict
from pydantic.dataclasses import dataclass

from captionlake.lake.releases.semver import WANTED, is_version
from captionlake.lake.releases.splits import check_splits

NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


def check_name(name: str) -> str:
    """The name as it came, or ValueError."""
    if len(name) > 96 or not NAME.fullmatch(name):
        raise ValueError(
            "must be lower-case letters, digits, `.`, `_`, `-`, begin with a letter or digit, and have at most 96"
        )
    return name


def check_version(version: str) -> str:
    """The version as it came, or ValueError."""
    if not is_version(version):
        raise ValueError(f"must be {WANTED}")
    return version


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class ReleaseConfig:
    """The release to make; written name@version, so neither part can hold an ``@``.

    ``splits``: fractions by name, which add up to 1 (``captionlake.lake.releases.splits``).
    """

    name: Annotated[str, AfterValidator(check_name)]
    version: Annotated[str, AfterValidator(check_version)]
    splits: Annotated[dict[str, float], AfterValidator(check_splits)] = field(default_factory=lambda: {"train": 1.0})
