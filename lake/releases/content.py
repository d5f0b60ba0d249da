"""What a release's hashes are over.

A row's hash is the SHA-256 of a JSON array ``[source, source_key, image_id, split, [[role, text], …]]`` (UTF-8, no spaces, no
escapes but JSON's own); the release's ``content_sha256`` is the SHA-256 over its rows' hex digests in order of position, each
followed by a line feed. Both are over content alone, never over generated ids or times, so that anyone can compute them.

A release of conversations (kind ``sft``, made by ``captionlake.lake.sft.sft_release``) has rows ``[image_id, split, record]``: the
SHA-256 of the first picture where the lake has it, else null, and the whole row as it is exported.
"""

import hashlib
import json
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any

import duckdb

CHUNK = 20_000


def with_texts(rows: duckdb.DuckDBPyConnection, keys: int) -> Iterator[list[Any]]:
    """Result rows of ``keys`` columns, then role and text, gathered by the first column: the keys, then the pairs of role and text."""
    for _, group in groupby(fetched(rows), key=itemgetter(0)):
        first, *others = group
        yield [*first[:keys], [[role, text] for *_, role, text in (first, *others) if text is not None]]


def fetched(rows: duckdb.DuckDBPyConnection) -> Iterator[tuple[Any, ...]]:
    """The rows of a result, some thousand at a time."""
    while chunk := rows.fetchmany(CHUNK):
        yield from chunk


def row_hash(source: str, source_key: str, image_id: str, split: str, texts: list[list[str]]) -> str:
    """The hash of one row; ``texts`` are pairs of role and text in order."""
    content = [source, source_key, image_id, split, texts]
    return hashlib.sha256(json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()


class ContentHash:
    """The hash of a release, row by row."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.rows = 0

    def add(self, source: str, source_key: str, image_id: str, split: str, texts: list[list[str]]) -> str:
        """Take in the next row; returns its own hash."""
        return self.add_digest(row_hash(source, source_key, image_id, split, texts))

    def add_digest(self, digest: str) -> str:
        """Take in the next row by its hash, and return that."""
        self._hash.update(f"{digest}\n".encode())
        self.rows += 1
        return digest

    def hexdigest(self) -> str:
        """The hash of the rows so far."""
        return self._hash.hexdigest()
