"""The words of all captions as a full-text index (SQLite FTS5) in the lake's cache: derived, made and mended when asked for.

It holds the texts too: to find some of a million texts in the lake's Parquet takes seconds, as all must be unpacked.
"""

import logging
import re
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from filelock import FileLock

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.cache import cache_folder
from captionlake.lake.progress import progress

log = logging.getLogger(__name__)

_FORMAT = 2
_ROWS = 8192  # read at one time
_TERM = re.compile(r'"[^"]*"?|[^\s"]+')
_SCHEMA = """
CREATE TABLE state (format INTEGER, snapshot INTEGER, n INTEGER, fingerprint TEXT);
CREATE TABLE ids (docid INTEGER PRIMARY KEY, caption_id TEXT NOT NULL, image_id TEXT NOT NULL);
CREATE VIRTUAL TABLE words USING fts5 (text, tokenize = 'porter unicode61 remove_diacritics 2');
"""
_State = tuple[int, int, str]  # snapshot, number of captions, fingerprint of their ids


def index_path(lake: Path) -> Path:
    """Where the index is kept."""
    return cache_folder(lake) / "captions.sqlite"


def match_query(text: str) -> str:
    """A search as FTS5 takes it: all words, ``"a phrase"`` as it stands, ``begin*``; nothing else has a meaning.

    Raises where there is no letter and no digit in it.
    """
    terms = []
    for term in _TERM.findall(text.replace("\0", " ")):
        prefix = not term.startswith('"') and term.endswith("*")
        if any(character.isalnum() for character in term):
            terms.append(f'"{term.strip(chr(34) + "*")}"{"*" if prefix else ""}')
    if not terms:
        raise CaptionlakeError("the search has no word: give words that stand in a caption")
    return " AND ".join(terms)


@contextmanager
def caption_index(lake: Lake) -> Iterator["CaptionIndex"]:
    """The index of the captions at the newest snapshot.

    New captions are added; when some are gone, or the file is not whole, all is made anew.
    """
    path = index_path(lake.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        snapshot = lake.snapshot()
        state = _read_state(path)
        if state is None or state[0] != snapshot:
            _bring_up(lake, path, snapshot, state)
    with closing(sqlite3.connect(f"file:{_quoted(path)}?mode=ro", uri=True, timeout=20)) as database:
        yield CaptionIndex(database)


@dataclass(frozen=True, slots=True)
class FoundCaption:
    """A caption with its BM25 score, the higher the better."""

    caption_id: str
    image_id: str
    text: str
    score: float


class CaptionIndex:
    """An index that is open."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def best(self, text: str, limit: int, offset: int = 0) -> list[FoundCaption]:
        """Captions with all the words, the best first."""
        query = (
            "SELECT caption_id, image_id, text, -score "
            "FROM (SELECT rowid AS docid, text, rank AS score FROM words WHERE words MATCH ? ORDER BY rank LIMIT ? OFFSET ?) "
            "JOIN ids USING (docid) ORDER BY score, caption_id"
        )
        return [FoundCaption(*row) for row in self._database.execute(query, [match_query(text), limit, offset])]


def _quoted(path: Path) -> str:
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _read_state(path: Path) -> _State | None:
    if not path.is_file():
        return None
    try:
        with closing(sqlite3.connect(path, timeout=20)) as database:
            row = database.execute("SELECT snapshot, n, fingerprint, format FROM state").fetchone()
    except sqlite3.DatabaseError as error:
        log.debug("no index of captions in %s: %s", path, error)
        return None
    return (int(row[0]), int(row[1]), str(row[2])) if row and row[3] == _FORMAT else None


def _bring_up(lake: Lake, path: Path, snapshot: int, state: _State | None) -> None:
    """Let the index hold the captions at a snapshot."""
    table = f"lake.captions AS made AT (VERSION => {snapshot:d})"
    ((n, mixed),) = lake.rows(f"SELECT count(*), bit_xor(md5_number(caption_id)) FROM {table}")
    now: _State = (snapshot, int(n), f"{int(mixed or 0):032x}")
    if state is not None:
        try:
            if state[1:] == now[1:] or _append(lake, path, table, now):
                _note(path, now)
                return
        except sqlite3.DatabaseError as error:
            log.debug("the index of captions in %s is broken: %s", path, error)
    draft = path.with_name(f"captions-{uuid.uuid4().hex[:12]}.draft")
    for old in path.parent.glob("captions-*.draft*"):
        old.unlink()
    with closing(sqlite3.connect(draft)) as database:
        database.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + _SCHEMA)
        _add(lake, database, f"SELECT caption_id, image_id, text FROM {table}", 0, now[1])
        _set(database, now)
        database.commit()
        database.execute("PRAGMA synchronous = FULL")
    draft.replace(path)


def _append(lake: Lake, path: Path, table: str, now: _State) -> bool:
    """Add new captions in one transaction; False, and nothing done, where known ones are gone from the lake."""
    with closing(sqlite3.connect(path, timeout=20)) as database:
        known = [key for (key,) in database.execute("SELECT caption_id FROM ids ORDER BY docid")]
        new = f"FROM {table} WHERE NOT EXISTS (SELECT 1 FROM _known WHERE _known.caption_id = made.caption_id)"
        with lake.registered(_known=pa.table({"caption_id": pa.array(known, pa.string())})):
            if len(known) + int(lake.value(f"SELECT count(*) {new}")) != now[1]:
                return False
            last = database.execute("SELECT coalesce(max(docid), 0) FROM ids").fetchone()[0]
            _add(lake, database, f"SELECT caption_id, image_id, text {new}", int(last), now[1] - len(known))
        _set(database, now)
        database.commit()
    return True


def _note(path: Path, now: _State) -> None:
    with closing(sqlite3.connect(path, timeout=20)) as database:
        _set(database, now)
        database.commit()


def _set(database: sqlite3.Connection, now: _State) -> None:
    database.execute("DELETE FROM state")
    database.execute("INSERT INTO state (snapshot, n, fingerprint, format) VALUES (?, ?, ?, ?)", [*now, _FORMAT])


def _add(lake: Lake, database: sqlite3.Connection, query: str, last: int, total: int) -> None:
    with progress("index captions", total) as advance:
        for batch in lake.connection.execute(query).to_arrow_reader(_ROWS):
            keys, pictures, texts = (column.to_pylist() for column in batch.columns)
            numbers = range(last + 1, last + 1 + len(keys))
            database.executemany("INSERT INTO ids VALUES (?, ?, ?)", zip(numbers, keys, pictures, strict=True))
            database.executemany("INSERT INTO words (rowid, text) VALUES (?, ?)", zip(numbers, texts, strict=True))
            last += len(keys)
            advance(len(keys))
