"""POPE's questions about a lake's own pictures, where their rows say which objects are in them (``meta.objects``, from COCO's
``instances_*.json``).

As POPE's own tool samples (AoiDragon/POPE, ``utils.py``): for each picture k objects that are there, and after each of them one that is
not, taken in three ways: "random"; "popular", the one in most pictures of the lake; "adversarial", the one that most often stands
together with the object asked for before it. None is asked for twice.
"""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations
from pathlib import Path

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.archives import MemberError
from captionlake.lake.reasons import FailureReason
from captionlake.models.evaluation.benchmark import Benchmark, Item, of_one_name_each
from captionlake.models.evaluation.pope import SETTINGS, SHORT

PICTURES = 500  # as POPE takes of COCO
OBJECTS = 3  # that are there, of a picture, and as many that are not
_QUERY = """
SELECT image_id, list_sort(list_distinct(flatten(list(json_keys(meta, '$.objects'))))) AS objects
FROM lake.images WHERE json_type(meta, '$.objects') = 'OBJECT' GROUP BY image_id ORDER BY image_id
"""

Objects = Mapping[str, Sequence[str]]  # which are in a picture


class _Pictures:
    """Pictures of a lake by image_id."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake

    def read(self, picture: str) -> bytes:
        try:
            return self._lake.picture(picture)
        except CaptionlakeError as error:
            raise MemberError(FailureReason.MISSING_MEMBER, str(error)) from error

    def close(self) -> None:
        self._lake.close()


def read(path: Path, *, seed: int = 0, pictures: int = PICTURES) -> Benchmark:
    """The questions about a lake; the same ones for the same lake and seed."""
    lake = Lake.open(path)
    try:
        objects: dict[str, list[str]] = dict(lake.rows(_QUERY))
        items = of_one_name_each(list(questions(objects, seed=seed, pictures=pictures)), path)
    except BaseException:
        lake.close()
        raise
    return Benchmark(items=items, pictures=_Pictures(lake))


def questions(objects: Objects, *, seed: int = 0, pictures: int = PICTURES) -> Iterator[Item]:
    """POPE's questions. A picture is taken where over ``OBJECTS`` objects are in it and as many are not, as POPE's are. Raises where
    there is no such picture."""
    frequent = Counter(one for there in objects.values() for one in there)
    together: dict[str, Counter[str]] = {}
    for there in objects.values():
        for one, other in permutations(there, 2):
            together.setdefault(one, Counter())[other] += 1
    fit = [name for name, there in sorted(objects.items()) if OBJECTS < len(there) <= len(frequent) - OBJECTS]
    if not fit:
        raise CaptionlakeError(
            f"the lake has no picture with over {OBJECTS} annotated objects and {OBJECTS} that are not in it: ingest COCO with its "
            "instances_*.json (docs/sources.md)"
        )
    taken = random.Random(seed).sample(fit, min(pictures, len(fit)))
    for name in taken:
        chance = random.Random(f"{seed}:{name}")
        there = sorted(objects[name])
        absent = sorted(frequent.keys() - set(there))
        asked = chance.sample(there, OBJECTS)
        chosen = {
            "random": chance.sample(absent, OBJECTS),
            "popular": sorted(absent, key=lambda one: (-frequent[one], one))[:OBJECTS],
            "adversarial": _companions(asked, absent, together, frequent),
        }
        for setting in SETTINGS:
            for number, (yes, no) in enumerate(zip(asked, chosen[setting], strict=True)):
                yield _item(setting, name, 2 * number, yes, "yes")
                yield _item(setting, name, 2 * number + 1, no, "no")


def _companions(
    asked: Sequence[str], absent: Sequence[str], together: Mapping[str, Counter[str]], frequent: Counter[str]
) -> list[str]:
    """For each object asked for, the absent one that is most often with it; among equals the more frequent one."""
    chosen: list[str] = []
    for thing in asked:
        left = [one for one in absent if one not in chosen]
        chosen.append(min(left, key=lambda one: (-together[thing][one], -frequent[one], one)))
    return chosen


def _item(setting: str, picture: str, number: int, thing: str, label: str) -> Item:
    article = "an" if thing[:1].lower() in "aeiou" else "a"
    known_as = f"{setting}:{picture}:{number}"
    text = f"Is there {article} {thing} in the image?{SHORT}"
    return Item(id=known_as, text=text, picture=picture, answer=label, unit=known_as, group=setting)
