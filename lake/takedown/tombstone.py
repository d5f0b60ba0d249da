"""What is kept of a picture that was taken down: hashes, by which it is known again and refused.

``asked`` of a row of ``takedowns`` is a JSON object: ``image_ids`` (SHA-256 of the bytes), ``keys`` (SHA-256 of ``key:SOURCE:SOURCE_KEY``)
and ``urls`` (SHA-256 of ``url:URL``). ``touched`` says how far the removal is (``state``: ``removing`` or ``done``) and what it met.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from captionlake.errors import CaptionlakeError
from captionlake.lake.lake import Lake

REMOVING, DONE = "removing", "done"

#: SQL of the hashes, over rows with ``source``, ``source_key`` and ``url``
KEY_HASH = "sha256('key:' || source || ':' || source_key)"
URL_HASH = "sha256('url:' || url)"


@dataclass(frozen=True, slots=True)
class Hashes:
    """What is known again: pictures by their bytes, rows by their keys, and URLs. All are SHA-256, hexadecimal."""

    image_ids: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.image_ids or self.keys or self.urls)

    def to_json(self) -> str:
        """As it stands in ``takedowns.asked``."""
        return json.dumps({name: sorted(set(values)) for name, values in asdict(self).items()})


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A row of ``takedowns``."""

    takedown_id: str
    hashes: Hashes
    reason: str
    touched: dict[str, Any]
    created_at: datetime

    @property
    def is_done(self) -> bool:
        """Whether all is removed."""
        return bool(self.touched.get("state") == DONE)


def key_hash(source: str, source_key: str) -> str:
    """The hash of a row's key."""
    return hashlib.sha256(f"key:{source}:{source_key}".encode()).hexdigest()


def url_hash(url: str) -> str:
    """The hash of a URL."""
    return hashlib.sha256(f"url:{url}".encode()).hexdigest()


def tombstones(lake: Lake) -> list[Tombstone]:
    """All, the oldest first."""
    rows = lake.rows(
        "SELECT takedown_id, asked, reason, touched::VARCHAR, created_at FROM takedowns ORDER BY created_at, takedown_id"
    )
    return [
        Tombstone(one, Hashes(**json.loads(asked)), reason, json.loads(touched), at)
        for one, asked, reason, touched, at in rows
    ]


def tombstone(lake: Lake, takedown_id: str) -> Tombstone:
    """One by its id, or the beginning of it. Raises where there is none, or several."""
    found = [one for one in tombstones(lake) if one.takedown_id.startswith(takedown_id)]
    if len(found) == 1:
        return found[0]
    known = ", ".join(one.takedown_id for one in tombstones(lake)[-5:]) or "none yet"
    raise CaptionlakeError(f"{'several takedowns' if found else 'no takedown'} {takedown_id}: the newest are {known}")


def barred(lake: Lake) -> Hashes:
    """What no ingest may bring back: the hashes of all takedowns together."""
    every = [one.hashes for one in tombstones(lake)]
    return Hashes(*([value for one in every for value in getattr(one, name)] for name in ("image_ids", "keys", "urls")))
