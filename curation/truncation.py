"""Captions cut so that their mean length meets a target: rows of kind ``truncated`` beside the whole ones.

Every text is cut at the same number of characters, the cap, back to the end of a word or a sentence; one that is no longer than
the cap stays whole. The mean length grows with the cap, so the greatest cap that keeps it at or under the target is found by
bisection over sums that one reading of the texts gives.
"""

import hashlib
import json
import re
import time
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.resources import files
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.progress import progress
from captionlake.lake.releases.content import fetched
from captionlake.lake.releases.names import parse_release
from captionlake.lake.releases.release import find_release
from captionlake.lake.runs import note_run

Boundary = Literal["word", "sentence"]

MEAN_CHARS = 609  # of LLaVA's detail_23k, to which the paper's truncation experiment cuts
_COMMIT_EVERY = 20_000  # captions
# Where a text may be cut, as what ends there. A word is what stands between white space. A sentence ends with a full stop, a question or
# exclamation mark, closing quotes and brackets after it, before white space (in Chinese and Japanese, before anything), and at
# the end of a line.
_ENDS = {
    "word": re.compile(r"\S+"),
    "sentence": re.compile(r"[.!?…]+[\"'”’»)\]]*(?=\s)|[。！？]+[”’」』）]*|\S(?=[^\S\n]*\n)"),
}
_ROWS = pa.schema(
    [
        *(
            (name, pa.string())
            for name in ("caption_id", "image_id", "source", "source_key", "kind", "producer", "text")
        ),
        *((name, pa.int32()) for name in ("chars", "words")),
        *((name, pa.string()) for name in ("params", "license", "parent_id")),
        ("created_at", pa.timestamp("us", "UTC")),
    ]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class TruncateConfig:
    """Whose captions are cut, and how. ``release``: only those that it holds. ``name``: the producer of the cut ones."""

    producer: str
    release: str | None = None
    mean_chars: int = MEAN_CHARS
    at: Boundary = "word"
    name: str | None = None

    def __post_init__(self) -> None:
        if self.mean_chars < 1:
            raise CaptionlakeError(f"a mean of {self.mean_chars} characters cannot be met: give 1 or more")
        if self.release is not None:
            parse_release(self.release)

    @property
    def label(self) -> str:
        """``gpt4-vision/tr609``, at sentences ``gpt4-vision/tr609-sentence``, or the name given."""
        return self.name or f"{self.producer}/tr{self.mean_chars}{'' if self.at == 'word' else f'-{self.at}'}"


@dataclass(frozen=True, kw_only=True, slots=True)
class TruncateCounts:
    """``captions`` were read, of which ``cut`` are longer than ``cap`` characters; ``added`` rows are new in the lake."""

    producer: str
    captions: int
    cut: int
    added: int
    cap: int
    mean_chars: float  # achieved
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Cap:
    """``chars``: where texts are cut; ``mean``: of the lengths that this leaves; ``n`` texts, of which ``cut`` are cut."""

    chars: int
    mean: float
    n: int
    cut: int


def ends(text: str, at: Boundary) -> list[int]:
    """The lengths to which a text can be cut, rising; the last one is its whole length.

    >>> ends("A cat. It sits", "word"), ends("A cat. It sits", "sentence")
    ([1, 6, 9, 14], [6, 14])
    """
    found = [match.end() for match in _ENDS[at].finditer(text)]
    if found and found[-1] >= len(text.rstrip()):
        found[-1] = len(text)  # white space at its end goes with the last word
    else:
        found.append(len(text))
    return found


def cut(text: str, cap: int, at: Boundary) -> str:
    """The longest beginning of at most ``cap`` characters that ends at a boundary; the first word or sentence, where that is longer."""
    if len(text) <= cap:
        return text
    where = ends(text, at)
    return text[: where[max(bisect_right(where, cap) - 1, 0)]]


def find_cap(texts: Iterable[str], mean_chars: float, at: Boundary) -> Cap:
    """The greatest cap under which the mean length is at most ``mean_chars``. Raises where even first words or sentences are longer."""
    gains = np.zeros(1024, np.int64)  # gains[c]: characters that texts gain in all when the cap reaches c
    lengths = np.zeros(1024, np.int64)  # lengths[c]: texts of c characters
    n = firsts = 0
    for text in texts:
        where = ends(text, at)
        if where[-1] >= len(gains):
            gains, lengths = (np.concatenate([a, np.zeros(where[-1] + 1, np.int64)]) for a in (gains, lengths))
        n += 1
        firsts += where[0]
        lengths[where[-1]] += 1
        for before, end in pairwise(where):
            gains[end] += end - before
    if not n:
        raise CaptionlakeError("there are no texts to cut: name a producer that has captions")
    sums = firsts + np.cumsum(gains)
    if firsts > mean_chars * n:
        raise CaptionlakeError(
            f"no cut at the end of a {at} has a mean of {mean_chars:g} characters: the first {at}s alone have {firsts / n:.1f}: "
            f"give a larger mean{'' if at == 'word' else ', or cut at words'}"
        )
    chars = _greatest(sums, mean_chars * n)
    return Cap(chars=chars, mean=float(sums[chars]) / n, n=n, cut=int(lengths[chars + 1 :].sum()))


def _greatest(sums: npt.NDArray[np.int64], limit: float) -> int:
    """The last index whose sum is at most ``limit``, among those at which a sum is reached; ``sums[0]`` is."""
    last = int(np.searchsorted(sums, limit, side="right")) - 1
    return int(np.searchsorted(sums, sums[last], side="left")) or 1


def truncate(lake: Lake, config: TruncateConfig) -> TruncateCounts:
    """Add the cut captions that the lake lacks. Can be killed and run again.

    One name stands for one set of captions with one cap: where rows of that name have another cap, it is refused.
    """
    started = time.monotonic()
    query, given = _query(lake, config)
    try:
        cap = find_cap((row[1] for row in _read(lake, query, given)), config.mean_chars, config.at)
    except CaptionlakeError as error:
        raise CaptionlakeError(f"captions by {config.producer}{_within(config)}: {error}") from error
    _check_name(lake, config, cap)
    added = 0
    with progress(f"truncate {config.producer}", cap.n) as advance:
        batch: list[dict[str, Any]] = []
        for row in _read(lake, query, given):
            batch.append(cut_row(row, config, cap))
            if len(batch) == _COMMIT_EVERY:
                added += store(lake, batch)
                advance(len(batch))
                batch = []
        added += store(lake, batch)
    counts = TruncateCounts(
        producer=config.label,
        captions=cap.n,
        cut=cap.cut,
        added=added,
        cap=cap.chars,
        mean_chars=round(cap.mean, 3),
        seconds=round(time.monotonic() - started, 3),
    )
    if added:
        note_run(lake, "truncate", target=config.label, detail=asdict(config), counts=asdict(counts))
    return counts


def cut_row(row: tuple[Any, ...], config: TruncateConfig, cap: Cap) -> dict[str, Any]:
    """A row of ``captions`` for (caption_id, text, image_id, source, source_key, license) of a whole one.

    The id is a hash of the whole one's, the name and the cut, so that a second run makes the same.
    """
    parent, text, image_id, source, source_key, license = row
    short = cut(text, cap.chars, config.at)
    params = {
        "unit": "characters",
        "boundary": config.at,
        "target": config.mean_chars,
        "cap": cap.chars,
        "mean": round(cap.mean, 3),
    }
    named = json.dumps(["truncated", parent, config.label, config.at, cap.chars], ensure_ascii=False)
    return {
        "caption_id": hashlib.sha256(named.encode()).hexdigest()[:32],
        "image_id": image_id,
        "source": source,
        "source_key": source_key,
        "kind": "truncated",
        "producer": config.label,
        "text": short,
        "chars": len(short),
        "words": len(short.split()),
        "params": json.dumps(params),
        "license": license,
        "parent_id": parent,
        "created_at": datetime.now(UTC),
    }


def store(lake: Lake, rows: list[dict[str, Any]]) -> int:
    """Add rows of ``captions`` that are new; returns how many."""
    return lake.append("captions", pa.Table.from_pylist(rows, _ROWS), ["caption_id"]) if rows else 0


def _query(lake: Lake, config: TruncateConfig) -> tuple[str, dict[str, Any]]:
    given: dict[str, Any] = {"producer": config.producer}
    held = "true"
    if config.release is not None:
        release = find_release(lake, config.release)
        given |= {"name": release.name, "version": release.version}
        held = "caption_id IN (SELECT caption_id FROM lake.release_captions WHERE name = $name AND version = $version)"
    text = files("captionlake.curation").joinpath("sql/whole_captions.sql").read_text()
    return text.replace(":held", held), given


def _read(lake: Lake, query: str, given: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """On a cursor, so that rows come while others are written."""
    return fetched(lake.connection.cursor().execute(query, given))


def _check_name(lake: Lake, config: TruncateConfig, cap: Cap) -> None:
    """Raises where the name is another producer's, or has captions with another cut."""
    mine = {"boundary": config.at, "target": config.mean_chars, "cap": cap.chars}
    query = (
        "SELECT DISTINCT kind, params->>'boundary', (params->>'target')::BIGINT, (params->>'cap')::BIGINT "
        "FROM captions WHERE producer = ?"
    )
    for kind, *said in lake.rows(query, [config.label]):
        if kind != "truncated" or said != list(mine.values()):
            there = f"cut at {said[2]:,} characters" if kind == "truncated" else f"of kind {kind}"
            raise CaptionlakeError(
                f"the lake has captions by {config.label} already, {there}, and these would be cut at {cap.chars:,}: "
                "give these another name with --as"
            )


def _within(config: TruncateConfig) -> str:
    return f" in {config.release}" if config.release else ""
