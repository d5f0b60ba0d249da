"""Quality flags: how many captions are checked in a second, and how long a second call takes that has nothing to do.

    python benchmarks/flags.py                   # 20,000 captions of 826 characters, by this process and by one a core
    python benchmarks/flags.py --captions 100000 --alone 0

Sentences are put together from parts written by us, so that no two captions are alike; a quarter of the pictures has made-up instances of
COCO and five texts by people, a hundredth of the captions a refusal, a loop or an address. There are no pictures behind the rows.
"""

import argparse
import json
import random
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
from search import seconds

from captionlake.curation.flags import FlagConfig, chair, flag_captions
from captionlake.curation.flags.checking import TEXT_FLAGS, check
from captionlake.curation.flags.flag import Caption
from captionlake.lake import Lake

CHARACTERS = 826  # of a caption: the mean of ShareGPT4V-PT
NOUNS = [
    "man", "woman", "girl", "dog", "bus", "truck", "cat", "boat", "tower", "street", "wall", "tree", "shop", "river",
    "table", "window", "bench", "bicycle", "umbrella", "bottle", "chair", "sign", "flower", "backpack", "coat",
    "jacket", "hat", "shadow", "roof", "door", "fence", "lamp", "cloud", "hill", "field", "path", "bridge", "stone",
    "leaf", "branch", "glass", "plate", "cup", "bowl", "book", "shelf", "curtain", "carpet", "sofa", "pillow",
    "mirror", "clock", "picture", "frame", "basket", "bag", "box", "wheel", "engine", "rail", "platform", "kite",
    "beach", "wave", "sand", "rock", "horse", "cow", "sheep", "bird", "wing", "feather", "beak", "tail", "ear", "eye",
    "hand", "face", "beard", "sleeve", "button", "collar", "scarf", "glove", "shoe", "lace", "ribbon", "rope", "net",
    "pole", "banner",
]  # fmt: skip
KINDS = [
    "red", "blue", "green", "yellow", "white", "black", "brown", "grey", "pale", "dark", "bright", "small", "large",
    "tall", "low", "narrow", "wide", "old", "new", "worn", "wet", "dry", "smooth", "rough", "wooden", "metal",
    "striped", "spotted", "round", "square", "open", "closed", "empty", "full", "quiet", "busy", "distant", "near",
    "soft", "hard", "heavy", "light", "thin", "thick", "clean", "dusty",
]  # fmt: skip
ACTS = [
    "stands", "lies", "leans", "waits", "hangs", "rests", "moves", "rises", "bends", "turns", "points", "reaches",
    "looks", "faces", "crosses", "follows", "fills", "meets",
]  # fmt: skip
WHERE = [
    "on", "in", "beside", "behind", "under", "above", "near", "against", "across", "along", "beyond", "before",
    "between",
]  # fmt: skip
CLASSES = ["person", "dog", "bus", "truck", "cat", "boat", "clock", "bench", "bicycle", "umbrella", "bottle", "chair"]
ODD = [
    "I'm sorry, but I can't help with that request. ",
    "The man is walking along the road in the rain. " * 4,
    "Write to someone@example.org about it. ",
    "<|im_end|> ",
]
IMAGES = """INSERT INTO lake.images BY NAME
SELECT 's' AS source, i::VARCHAR AS source_key, 'coco' AS collection, sha256(i::VARCHAR) AS image_id, 640 AS width, 480 AS height,
    'JPEG' AS format, 1 AS orientation, 100000 AS n_bytes, hash(i) AS phash, 'shard-000001.parquet' AS shard, 0 AS "row",
    0 AS "offset", meta, now() AS ingested_at FROM _made"""
CAPTIONS = """INSERT INTO lake.captions BY NAME
SELECT md5(i::VARCHAR || producer || number) AS caption_id, sha256(i::VARCHAR) AS image_id, kind, producer, text, length(text) AS chars,
    0 AS words, 'stop' AS finish_reason, now() AS created_at FROM _texts"""


def caption(chance: random.Random, characters: int = CHARACTERS) -> str:
    """Sentences of about so many characters."""
    parts: list[str] = []
    while sum(map(len, parts)) < characters - 40:
        one, other, third, fourth = (f"{chance.choice(KINDS)} {chance.choice(NOUNS)}" for _ in range(4))
        act, where = chance.choice(ACTS), chance.choice(WHERE)
        parts.append(
            f"The {one} {act} {where} the {other}, while its {third} is {chance.choice(KINDS)} and {chance.choice(KINDS)}. "
        )
        if chance.random() < 0.2:
            parts.append(
                f"{chance.choice(WHERE).capitalize()} the {fourth} there appears to be a {chance.choice(NOUNS)}. "
            )
    if chance.random() < 0.01:
        parts.insert(0, chance.choice(ODD))
    return "".join(parts).strip()


def fill(lake: Lake, captions: int) -> None:
    """A caption of a teacher a picture; a quarter of the pictures annotated."""
    chance = random.Random(0)
    made, texts = [], []
    for i in range(captions):
        annotated = i % 4 == 0
        meta = {"objects": dict.fromkeys(chance.sample(CLASSES, 4), 1)} if annotated else {}
        made.append({"i": i, "meta": json.dumps(meta)})
        texts.append({"i": i, "kind": "teacher", "producer": "made", "number": "0", "text": caption(chance)})
        if annotated:
            texts += [
                {"i": i, "kind": "human", "producer": "source", "number": str(n), "text": caption(chance, 60)[:52]}
                for n in range(5)
            ]

    def change(connection: object) -> None:
        lake.connection.execute(IMAGES)
        lake.connection.execute(CAPTIONS)

    lake.commit(change, _made=pl.DataFrame(made).to_arrow(), _texts=pl.DataFrame(texts).to_arrow())


def processor_seconds(what: Callable[[], object]) -> float:
    """Of this process alone, whatever else the machine does."""
    started = time.process_time()
    what()
    return time.process_time() - started


def used() -> float:
    """Processor seconds of this process and of those that it has ended."""
    spent = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in spent)


def alone(count: int) -> None:
    """One process, flag by flag, in its processor time."""
    chance = random.Random(1)
    texts = [Caption(text=caption(chance), collection="coco") for _ in range(count)]
    config = FlagConfig()
    for flags in [(flag,) for flag in TEXT_FLAGS[:-2]]:
        took = processor_seconds(lambda flags=flags: [check(text, config, flags) for text in texts])  # type: ignore[misc]
        print(f"  {flags[0]}: {1e6 * took / count:.0f} µs a caption")
    took = processor_seconds(lambda: [check(text, config) for text in texts])
    print(f"  all of them: {count / took:,.0f} captions a second")
    objects = [Caption(text=text.text, objects=("person", "dog", "bench", "bus")) for text in texts]
    took = processor_seconds(lambda: [check(text, config, TEXT_FLAGS[-2:]) for text in objects])
    print(f"  with COCO's instances: {1e6 * took / count:.0f} µs a caption")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--captions", type=int, default=20_000)
    parser.add_argument("--alone", type=int, default=2_000, help="captions for the figures flag by flag; 0: none")
    options = parser.parse_args()
    if options.alone:
        print("one process:")
        alone(options.alone)
    with tempfile.TemporaryDirectory() as temporary, Lake.init(Path(temporary) / "lake") as lake:
        fill(lake, options.captions)
        mean, n = lake.rows("SELECT avg(chars), count(*) FROM captions WHERE kind = 'teacher'")[0]
        print(f"{n:,} captions of {mean:.0f} characters")
        before = used()
        counts = flag_captions(lake, FlagConfig(), producer="made")
        spent = used() - before
        print(f"  flag_captions: {counts.seconds:.1f} s, {n / counts.seconds:,.0f} captions a second")
        print(f"    processor time of all processes: {spent:.1f} s, {n / spent:,.0f} captions a second and core")
        print(f"  { ({name: count for name, count in counts.found.items() if count}) }")
        print(f"  again, nothing pending: {seconds(lambda: flag_captions(lake, FlagConfig(), producer='made')):.2f} s")
        started = time.perf_counter()
        (figures,) = chair(lake, producer="made")
        print(f"  CHAIR of {figures.captions:,} captions: {time.perf_counter() - started:.1f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"largest memory of this process: {peak:,.0f} MiB")


if __name__ == "__main__":
    main()
