"""The card of a release of 1.2 million made-up pictures with a caption of 826 characters each: the time of every fact, and of the whole.

    python benchmarks/cards.py
    python benchmarks/cards.py --rows 100000

The lake is that of benchmarks/captions.py with excluded rows, failures, flags, scores and parsed words beside; there are no pictures behind
the rows. Goal at 1.2 million: the whole command in 60 s.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from captions import RELEASE, fill, vocabulary
from measure import command

from captionlake.cards.facts import collect
from captionlake.lake import Lake

MORE = """
INSERT INTO sources SELECT 's', collection, 'Made up', 'https://example.org', 'CC-BY-4.0', NULL, 'urls', NULL
    FROM (SELECT unnest(['coco', 'lcs', 'sam']) AS collection);
INSERT INTO fetch_failures BY NAME SELECT 's' AS source, 'gone ' || i AS source_key, 'lcs' AS collection, 'http_4xx' AS reason,
    3 AS attempts, now() AS failed_at FROM range({rows} // 4) t(i);
INSERT INTO caption_checks SELECT caption_id, ['refusal=1', 'repetition=1', 'personal_data=1'] FROM captions;
INSERT INTO caption_flags SELECT caption_id, 'repetition', NULL FROM captions WHERE hash(caption_id) % 50 = 0;
INSERT INTO caption_scores SELECT caption_id, 'made-up', hash(caption_id) % 1000 / 1000, false FROM captions;
INSERT INTO caption_words SELECT caption_id, 'made-up', 8, 150, 140, 50, 2, 20, 15, 5, 4, 1,
    [format('verb{{}} noun{{}}', hash(caption_id) % 20, hash(caption_id) % 7 + i) FOR i IN range(4)] FROM captions;
"""
EXCLUDED = """
INSERT INTO exclusions SELECT 'made', '1.0.0', 's', 'left ' || i, 'over_quota', NULL, NULL, NULL, NULL FROM range({rows} // 5) t(i);
"""


def main() -> None:
    """Print a line a fact, the slow ones first, and one of the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_200_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "lake"
        with Lake.init(folder) as lake:
            words = vocabulary()
            fill(lake, rows, [*words[:20], "woman", "man", "person", *words[20:]])
            lake.commit(lambda connection: connection.execute(MORE.format(rows=rows)))
            lake.commit(lambda connection: connection.execute(RELEASE.format(rows=rows)))
            lake.commit(lambda connection: connection.execute(EXCLUDED.format(rows=rows)))
            took: dict[str, float] = {}
            collect(lake, "made@1.0.0", told=took.__setitem__)
        for name, seconds in sorted(took.items(), key=lambda one: -one[1])[:12]:
            print(f"  {name}: {seconds:.2f} s", flush=True)
        print(f"  all {len(took)} facts: {sum(took.values()):.1f} s", flush=True)
        started = time.perf_counter()
        ran = command("card", "made@1.0.0", "-o", str(Path(temporary) / "card"), "--json", "--lake", str(folder))
        print(
            json.dumps(
                {"rows": rows, "seconds": round(time.perf_counter() - started, 1), "memory_mb": round(ran.memory)}
            )
        )


if __name__ == "__main__":
    main()
