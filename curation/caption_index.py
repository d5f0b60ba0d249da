"""The words of all captions as a full-text index (tantivy) in the lake's cache: derived, made and mended when asked for.

It holds the texts too: to find some of a million texts in the lake's Parquet takes seconds, as all must be unpacked.
"""

import json
import logging
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
from filelock import FileLock

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.cache import cache_folder
from captionlake.lake.durable import replace_text
from captionlake.lake.progress import progress

log = logging.getLogger(__name__)

_FORMAT = 4
_ROWS = 8192  # read at one time
_HEAP = 256 * 2**20  # bytes of postings in memory
_STATE = "state.json"
_TERM = re.compile(r'"[^"]*"?|[^\s"]+')


def index_path(lake: Path) -> Path:
    """The folder in which the index is kept."""
    return cache_folder(lake) / "captions"


@dataclass(frozen=True, slots=True)
class FoundCaption:
    """A caption with its BM25 score, the higher the better."""

    caption_id: str
    image_id: str
    text: str
    score: float


@contextmanager
def caption_index(lake: Lake) -> Iterator["CaptionIndex"]:
    """The index of the captions at the newest snapshot.

    Captions that are new since it was made are added, others that are gone leave it; where its files are not whole, or the snapshot
    that it was made of is gone, all is made anew.
    """
    path = index_path(lake.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        snapshot = lake.snapshot()
        state = _read_state(path)
        if state != snapshot:
            _bring_up(lake, path, snapshot, state)
        index = CaptionIndex(path, snapshot)
    yield index


class CaptionIndex:
    """An index that is open, of the captions at ``snapshot``."""

    def __init__(self, path: Path, snapshot: int) -> None:
        self.snapshot = snapshot
        self._analyzer = _analyzer(stem=True)
        self._plain = _analyzer(stem=False)
        self._index = _open(path)
        self._schema = self._index.schema
        self._searcher = self._index.searcher()

    def best(self, text: str, limit: int, offset: int = 0) -> list[FoundCaption]:
        """Captions with all the words, the best first."""
        found = self._searcher.search(self._query(text), limit, count=False, offset=offset).hits
        hits = []
        for score, address in found:
            one = self._searcher.doc(address)
            image_id = bytes(one.get_first("image_id")).decode()
            hits.append(FoundCaption(one.get_first("caption_id"), image_id, one.get_first("words"), score))
        return sorted(hits, key=lambda hit: (-hit.score, hit.caption_id))

    def count(self, text: str) -> int:
        """How many captions have all the words."""
        return int(self._searcher.search(self._query(text), 1, count=True).count)

    def _query(self, text: str) -> Any:
        """All words, ``"a phrase"`` as it stands, ``begin*``; nothing else has a meaning. Raises where there is no word."""
        from tantivy import Occur, Query

        parts = []
        for term in _TERM.findall(text):
            words = self._analyzer.analyze(term)
            if words and not term.startswith('"') and term.endswith("*"):
                begin = self._plain.analyze(term)[-1]  # letters and digits alone
                begins = Query.regex_query(self._schema, "words", f"{begin}.*")
                stem = Query.term_query(
                    self._schema, "words", words.pop()
                )  # "running*" finds "run", its stem in the index
                parts.append(Query.boolean_query([(Occur.Should, begins), (Occur.Should, stem)]))
            if len(words) > 1:
                parts.append(Query.phrase_query(self._schema, "words", words))
            elif words:
                parts.append(Query.term_query(self._schema, "words", words[0]))
        if not parts:
            raise CaptionlakeError("the search has no word: give words that stand in a caption")
        return Query.boolean_query([(Occur.Must, part) for part in parts])


def _analyzer(*, stem: bool) -> Any:
    from tantivy import Filter, TextAnalyzerBuilder, Tokenizer

    made = TextAnalyzerBuilder(Tokenizer.simple()).filter(Filter.remove_long(120)).filter(Filter.lowercase())
    made = made.filter(Filter.ascii_fold())
    return (made.filter(Filter.stemmer("english")) if stem else made).build()


def _open(path: Path) -> Any:
    """The index in a folder, made there if it is not."""
    from tantivy import Index, SchemaBuilder

    fields = SchemaBuilder()
    fields.add_text_field("caption_id", stored=True, tokenizer_name="raw", index_option="basic")
    fields.add_bytes_field("image_id", stored=True)
    fields.add_text_field("words", stored=True, tokenizer_name="stemmed", index_option="position")
    index = Index(fields.build(), path=str(path))
    index.register_tokenizer("stemmed", _analyzer(stem=True))
    return index


def _read_state(path: Path) -> int | None:
    """The snapshot that an index is of; None where there is none, or where its files are not those that were written."""
    try:
        state = json.loads((path / _STATE).read_bytes())
        whole = state["format"] == _FORMAT and all(
            (path / name).stat().st_size == size for name, size in state["files"].items()
        )
        return int(state["snapshot"]) if whole else None
    except (OSError, ValueError, TypeError, KeyError) as error:
        log.debug("no index of captions in %s: %s", path, error)
        return None


def _note(path: Path, snapshot: int) -> None:
    sizes = {
        file.name: file.stat().st_size for file in path.iterdir() if file.suffix != ".lock" and file.name != _STATE
    }
    replace_text(path / _STATE, json.dumps({"format": _FORMAT, "snapshot": snapshot, "files": sizes}))


def _bring_up(lake: Lake, path: Path, snapshot: int, then: int | None) -> None:
    """Let the index hold the captions at a snapshot."""
    now = f"lake.captions AT (VERSION => {snapshot:d})"
    if then is not None:
        try:
            before = f"SELECT caption_id FROM lake.captions AT (VERSION => {then:d})"
            gone = [key for (key,) in lake.rows(f"{before} EXCEPT SELECT caption_id FROM {now}")]
            _write(lake, path, f"FROM {now} WHERE caption_id NOT IN ({before})", gone, again=True)
            _note(path, snapshot)
            return
        except (duckdb.Error, ValueError, OSError) as error:
            log.debug("the index of captions in %s is made anew: %s", path, error)
    draft = path.with_name(f"captions-{uuid.uuid4().hex[:12]}.draft")
    for old in path.parent.glob("captions-*.draft"):
        shutil.rmtree(old)
    draft.mkdir()
    _write(lake, draft, f"FROM {now}", [], again=False)
    _note(draft, snapshot)
    _remove(path)
    draft.rename(path)


def _write(lake: Lake, path: Path, query: str, gone: list[str], *, again: bool) -> None:
    """Add the captions of a query, in the place of the same ones where they may be there ``again``, and take out those gone."""
    from tantivy import Document

    total = int(lake.value(f"SELECT count(*) {query}"))
    if not total and not gone and again:
        return
    writer = _open(path).writer(_HEAP)
    for key in gone:
        writer.delete_documents_by_term("caption_id", key)
    with progress("index captions", total) as advance:
        for batch in lake.connection.execute(f"SELECT caption_id, image_id, text {query}").to_arrow_reader(_ROWS):
            for caption_id, image_id, text in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                if again:
                    writer.delete_documents_by_term("caption_id", caption_id)
                writer.add_document(Document(caption_id=caption_id, image_id=image_id.encode(), words=text))
            advance(len(batch))
    writer.commit()
    writer.wait_merging_threads()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
