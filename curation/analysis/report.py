"""An analysis as text, and as files."""

import csv
import io
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from captionlake.curation.analysis import densefusion
from captionlake.lake.options import printable, table

if TYPE_CHECKING:
    from captionlake.curation.analysis.analysis import Analysis

_SHARES = {
    "nouns": "nouns, % of words",
    "proper_nouns": "proper nouns",
    "all_nouns": "nouns and proper nouns",
    "adjectives": "adjectives",
    "verbs": "verbs",
    "auxiliaries": "auxiliaries",
    "all_verbs": "verbs and auxiliaries",
    "adverbs": "adverbs",
    "numerals": "numerals",
}

Row = list[object]


def report(analysis: "Analysis") -> str:
    """The figures of all producers beside DenseFusion's, then the pairs that are shown."""
    figures = table(["", *analysis.producers, densefusion.NAME], list(_figures(analysis)))
    counts = analysis.counts
    head = (
        f"{analysis.release}: {counts.captions:,} captions, {counts.counted:,} of them parsed now, {counts.present:,} before "
        f"({printable(counts.parser)})"
    )
    return "\n\n".join([head, figures, *_pair_tables(analysis)])


def pairs_csv(analysis: "Analysis") -> bytes:
    """All pairs of all producers as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    answer = analysis.answers["pairs"]
    writer.writerow(answer.columns)
    writer.writerows(answer.rows)
    return text.getvalue().encode()


def pairs_parquet(analysis: "Analysis") -> bytes:
    """All pairs of all producers as Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = [pa.string(), pa.string(), pa.string(), pa.int64(), pa.float64()]
    answer = analysis.answers["pairs"]
    columns = list(zip(*answer.rows, strict=True)) or [()] * len(kinds)
    arrays = [pa.array(list(column), kind) for column, kind in zip(columns, kinds, strict=True)]
    sink = io.BytesIO()
    pq.write_table(pa.table(arrays, names=answer.columns), sink, compression="zstd")
    return sink.getvalue()


def analysis_json(analysis: "Analysis") -> bytes:
    """All figures with their queries."""
    return (json.dumps(analysis.data(), ensure_ascii=False, indent=1) + "\n").encode()


def _figures(analysis: "Analysis") -> Iterator[Row]:
    def row(label: str, name: str, column: str, peer: object = None, **where: object) -> Row:
        return [label, *(_value(analysis, producer, name, column, where) for producer in analysis.producers), peer]

    yield row("captions", "totals", "captions")
    for unit in ("characters", "words", "sentences"):
        peer = densefusion.MEAN_CHARACTERS if unit == "characters" else None
        yield row(f"{unit} a caption, mean", "lengths", "mean", peer, unit=unit)
        yield row(f"{unit} a caption, median", "lengths", "median", unit=unit)
    yield row("words", "totals", "words")
    for name, label in _SHARES.items():
        yield row(label, "composition", name, densefusion.SHARES.get(name))
    for n in (1, 2, 3):
        yield row(f"distinct-{n}", "distinct_n", "distinct_n", n=n)
    yield row("different words", "growth", "types")
    yield row("Heaps' exponent", "growth", "exponent")
    yield row("sentences", "totals", "sentences")
    yield row("sentences with a pair", "totals", "sentences_with_pair")


def _value(analysis: "Analysis", producer: str, name: str, column: str, where: dict[str, object]) -> Any:
    """The last of the rows that fit: of vocabulary growth that of all words."""
    found = [row[column] for row in analysis.answers[name].of(producer) if where.items() <= row.items()]
    return found[-1] if found else None


def _pair_tables(analysis: "Analysis") -> Iterator[str]:
    for producer in analysis.producers:
        shown = analysis.shown(producer)
        head = f"pairs of {analysis.config.share:g} % or more, {printable(producer)}:"
        rows: list[Row] = [[pair.verb, pair.noun, pair.sentences, round(pair.share, 2)] for pair in shown]
        yield f"{head}\n{table(['verb', 'noun', 'sentences', '%'], rows)}" if rows else f"{head} none"
