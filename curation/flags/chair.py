"""CHAIR: how much of what captions name is not in their pictures, by producer and collection, where COCO's instances are known.

Rohrbach et al., Object Hallucination in Image Captioning (2018): CHAIR_i = hallucinated objects / mentioned objects, CHAIR_s =
captions with a hallucinated object / captions. Beside it, recall: annotated objects that are named / annotated objects; and the same of
the strings that OCR read. Each class counts once a caption. What is there is the instances and what people's captions of the picture
name, less the caption itself. Our words for the classes are our own and leave out doubtful ones (``objects.py``), so figures compare
with one another, not to the decimal with those of papers.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files

import pyarrow.parquet as pq

from captionlake.curation.flags.crew import Crew
from captionlake.curation.flags.job import Row
from captionlake.lake import Lake
from captionlake.lake.catalog import quote
from captionlake.lake.progress import progress

_TASK = 500
_COLUMNS = ("annotated", "named", "mentioned", "hallucinated", "read", "said")


@dataclass(frozen=True, kw_only=True, slots=True)
class Chair:
    """Sums over the ``captions`` of a producer and a collection whose pictures have instances (objects) or OCR (strings).

    Objects: ``annotated``, ``named`` of these, ``mentioned``, ``hallucinated`` of these; ``object_captions`` with instances,
    ``wrong_captions`` of them with a hallucinated object. Strings: ``read`` by OCR, ``said`` of these; ``text_captions`` with any.
    """

    producer: str
    collection: str
    captions: int = 0
    object_captions: int = 0
    wrong_captions: int = 0
    annotated: int = 0
    named: int = 0
    mentioned: int = 0
    hallucinated: int = 0
    text_captions: int = 0
    read: int = 0
    said: int = 0

    @property
    def chair_i(self) -> float | None:
        """Of the objects mentioned, the share that is not there."""
        return _share(self.hallucinated, self.mentioned)

    @property
    def chair_s(self) -> float | None:
        """Of the captions, the share that names something which is not there."""
        return _share(self.wrong_captions, self.object_captions)

    @property
    def object_recall(self) -> float | None:
        """Of the annotated objects, the share that is named."""
        return _share(self.named, self.annotated)

    @property
    def text_recall(self) -> float | None:
        """Of the strings that OCR read, the share that is said."""
        return _share(self.said, self.read)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def chair(lake: Lake, *, producer: str | None = None, processes: int | None = None) -> list[Chair]:
    """A row a producer and collection with annotations, in order; compares all their captions anew and stores nothing."""
    folder = files("captionlake.curation").joinpath("sql")
    query = folder.joinpath("annotated_captions.sql").read_text()
    query = query.replace("($annotated)", f"({folder.joinpath('annotated_pictures.sql').read_text()})")
    query = query.replace("$of_producer", "true" if producer is None else f"made.producer = {quote(producer)}")
    sums: dict[tuple[str, str], dict[str, int]] = {}
    with lake.staging("chair") as staging:
        path = staging / "annotated.parquet"
        lake.connection.execute(f"COPY ({query}) TO {quote(str(path))}")
        with pq.ParquetFile(path) as rows, progress("compare with annotations", rows.metadata.num_rows) as advance:
            whose: list[tuple[str, str, bool]] = []
            with Crew("objects", {}, rows.metadata.num_rows, processes) as crew:
                for answer in crew.run(_tasks(rows, whose)):
                    for (maker, collection, has_objects), counts in zip(whose[: len(answer)], answer, strict=True):
                        _add(sums.setdefault((maker, collection), {}), has_objects, counts)
                    del whose[: len(answer)]
                    advance(len(answer))
    return [
        Chair(producer=maker, collection=collection, **sums[maker, collection]) for maker, collection in sorted(sums)
    ]


def _tasks(rows: pq.ParquetFile, whose: list[tuple[str, str, bool]]) -> Iterator[list[Row]]:
    for batch in rows.iter_batches(_TASK):
        task = batch.to_pylist()
        for row in task:
            whose.append((row.pop("producer"), row["collection"], row["objects"] is not None))
        yield task


def _add(to: dict[str, int], has_objects: bool, counts: list[int]) -> None:
    told = dict(zip(_COLUMNS, counts, strict=True))
    if not has_objects:
        told |= dict.fromkeys(("annotated", "named", "mentioned", "hallucinated"), 0)
    told |= {"captions": 1, "object_captions": int(has_objects), "text_captions": int(told["read"] > 0)}
    told["wrong_captions"] = int(told["hallucinated"] > 0)
    for name, count in told.items():
        to[name] = to.get(name, 0) + count
