"""Captions parsed and counted in a second, against ``nlp(text)`` in a loop. Goals: twice as many; 100,000 in minutes.

    python benchmarks/analysis.py

The texts are real English but no model's captions: sentences of the texts on gcompris-qt-data's and scikit-image's photographs (the
demo's, fetched with apt-get the first time), drawn by lot and joined to about 826 characters, the mean of ShareGPT4V-PT. Sentences
recur among them, whole texts do not, and nothing here makes use of the former.
"""

import argparse
import os
import random
import resource
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from captionlake.curation.analysis.parser import find_package, load_parser
from captionlake.curation.analysis.parsing import parse_beside

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "recipes" / "demo"))

MEAN = 826
PER_TASK = 128


def made(count: int) -> list[str]:
    """So many texts."""
    from photographs import collect

    found = collect(debian=True)
    for remark in found.remarks:
        print(f"  {remark}")
    sentences = [sentence for photograph in found.photographs for sentence in photograph.captions]
    typical = statistics.fmean(map(len, sentences))
    chance, texts = random.Random(0), list[str]()
    while len(texts) < count:
        text = ""
        while len(text) < MEAN - typical / 2:
            text = f"{text} {chance.choice(sentences)}".strip()
        texts.append(text)
    print(f"{count:,} texts of {statistics.fmean(map(len, texts)):.0f} characters, of {len(sentences)} sentences")
    return texts


def rate(texts: list[str], what: Callable[[list[str]], Any]) -> tuple[float, float]:
    """Texts in a second of time, and in a second of processor."""
    started, used = time.perf_counter(), time.process_time()
    what(texts)
    return len(texts) / (time.perf_counter() - started), len(texts) / max(time.process_time() - used, 1e-9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    import spacy

    texts = made(options.texts)
    package, parser_id = find_package()
    whole, ours = spacy.load(package), load_parser(package)
    few = texts[: max(options.texts // 5, 1)]
    whole(texts[0])
    ours.counts(texts[:10])
    runs = []
    for _ in range(3):  # in turn, as other work on the machine changes
        runs.append((rate(few, lambda some: [whole(text) for text in some]), rate(few, ours.counts)))
    loop, one = (statistics.median(run[which][0] for run in runs) for which in (0, 1))
    ratios = [run[1][0] / run[0][0] for run in runs]
    print(f"{parser_id}, spaCy {version('spacy')}")
    print(f"nlp(text) in a loop, the whole pipeline: {loop:.1f} captions/s")
    print(
        f"counts, one process: {one:.1f} captions/s, {statistics.median(ratios):.2f} times as many "
        f"({', '.join(f'{ratio:.2f}' for ratio in ratios)}; goal: 2); by processor time "
        f"{statistics.median(run[1][1] / run[0][1] for run in runs):.2f} times, "
        f"{1000 / statistics.median(run[1][1] for run in runs):.1f} ms a caption"
    )
    tasks = [texts[at : at + PER_TASK] for at in range(0, len(texts), PER_TASK)]
    made_in = time.perf_counter()
    first = None
    for done in parse_beside(tasks, package, options.processes):
        first = first or (time.perf_counter(), len(done))
    assert first is not None
    took = time.perf_counter() - made_in
    after = (len(texts) - first[1]) / max(time.perf_counter() - first[0], 1e-9)
    print(
        f"counts, {options.processes} processes: {len(texts) / took:.1f} captions/s with their start, {after:.1f} after it: "
        f"{after / loop:.2f} times the loop, 100,000 in {100_000 / after / 60:.0f} minutes"
    )
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
    print(f"largest process: {peak:,.0f} MiB")


if __name__ == "__main__":
    main()
