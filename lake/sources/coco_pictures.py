"""COCO's annotation files in memory, column by column, and the join of several files into one row a picture.

A million pictures with their captions are objects of some gigabytes in Python, and a few hundred megabytes as columns.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from captionlake.lake.sources.json_items import text_of
from captionlake.lake.sources.source import FRAME_ROWS, Row, as_json, clean

Id = str | int | float
Numbers = npt.NDArray[Any]

_IMAGES: dict[str, type[pl.DataType]] = {
    "number": pl.UInt32,  # of its id, within the file
    "name": pl.String,
    "url": pl.String,
    "id": pl.String,  # this and the two sizes as ``comparable``
    "width": pl.String,
    "height": pl.String,
    "license": pl.UInt32,  # number of the licence's id, within the file
    "author": pl.String,
    "meta": pl.String,  # JSON without its last brace
}
_SAME = ("id", "url", "width", "height")
_ABSENT, _CLASH = -1, -2  # in the place of a picture's row


class Pile:
    """Rows that soon become columns."""

    def __init__(self, schema: dict[str, type[pl.DataType]]) -> None:
        self.rows: list[tuple[Any, ...]] = []
        self._schema = schema
        self._frames = [pl.DataFrame(schema=schema)]
        self._starts = [0]  # of each frame, the first of which is empty, and of ``rows``

    def __len__(self) -> int:
        return self._starts[-1] + len(self.rows)

    def tidy(self, least: int = FRAME_ROWS) -> None:
        """Turn the rows into a frame if there are that many."""
        if len(self.rows) >= least:
            columns = zip(self._schema.items(), zip(*self.rows, strict=True), strict=True)
            self._frames.append(pl.DataFrame([pl.Series(name, values, type) for (name, type), values in columns]))
            self._starts.append(len(self))
            self.rows.clear()

    def at(self, row: int, column: str) -> Any:
        """One value."""
        if row >= self._starts[-1]:
            return self.rows[row - self._starts[-1]][list(self._schema).index(column)]
        part = bisect_right(self._starts, row)
        return self._frames[part][column][row - self._starts[part - 1]]

    def frame(self) -> pl.DataFrame:
        """All rows; the pile is empty afterwards."""
        self.tidy(1)
        frames, self._frames = self._frames, []
        return pl.concat(frames, rechunk=False)


@dataclass(slots=True)
class CocoFile:
    """What one annotation file holds. Every id of an image, wherever it is named first, has a number from 0."""

    path: Path
    numbers: dict[Id, int] = field(default_factory=dict)
    places: "array[int]" = field(default_factory=lambda: array("q"))  # by number: row of ``images``, or _ABSENT
    images: Pile = field(default_factory=lambda: Pile(_IMAGES))
    texts: Pile = field(default_factory=lambda: Pile({"number": pl.UInt32, "text": pl.String}))
    objects: Pile = field(default_factory=lambda: Pile({"number": pl.UInt32, "category": pl.UInt32}))
    licenses: dict[Id, dict[str, Any]] = field(default_factory=dict)
    categories: dict[Id, str] = field(default_factory=dict)
    license_numbers: dict[Id, int] = field(default_factory=dict)
    category_numbers: dict[Id, int] = field(default_factory=dict)
    bad: list[Row] = field(default_factory=list)

    def number(self, id: Id) -> int:
        """The number of an image's id."""
        number = self.numbers.get(id)
        if number is None:
            number = self.numbers[id] = len(self.numbers)
            self.places.append(_ABSENT)
        return number

    def known(self, number: int) -> str | None:
        """The name of the image that has the number, if it is listed."""
        place = self.places[number]
        return None if place == _ABSENT else str(self.images.at(place, "name"))

    def trouble(self, key: str, why: str, **more: object) -> None:
        """Note a row that cannot be used; file and row are in its key and its text."""
        # An id may hold half a surrogate pair, which no table takes.
        row = {"source_key": clean(key), "meta": "{}", "bad": clean(f"{self.path.name}: {why}")}
        self.bad.append(row | more)


def comparable(value: object) -> str | None:
    """A JSON value as text that is equal where the values are, so that 640 is 640.0."""
    if type(value) is int:
        return str(value)
    if value is None:
        return None
    if isinstance(value, int | float) and value - value == 0 and int(value) == value:
        return str(int(value))
    return as_json({"": value})


class Pictures:
    """The pictures of all files, one row a name, in the order in which the files name them."""

    def __init__(self) -> None:
        self.frame = pl.DataFrame(schema=_IMAGES | {"license": pl.String, "license_url": pl.String}).drop("number")
        self._texts: list[pl.DataFrame] = []
        self._objects: list[tuple[pl.DataFrame, list[str]]] = []
        self._have_objects = np.zeros(0, bool)

    def add(self, file: CocoFile) -> None:
        """Add a file's pictures and texts; what does not fit becomes a bad row of the file."""
        ids = list(file.numbers)
        file.numbers.clear()
        images = _licensed(file)
        rows = self._place(images)
        for image in images.filter(pl.Series(rows) == _CLASH).iter_rows(named=True):
            name, id = image["name"], ids[image["number"]]
            why = f"{name} is another picture in this list than before: give each split a --collection of its own"
            file.trouble(f"{name}#{file.path.name}:{id}", why, url=image["url"])
        placed = np.full(len(ids), _ABSENT, np.int32)  # by number: the picture's row
        placed[images["number"].to_numpy()] = rows
        del images, rows
        texts, objects = file.texts.frame(), file.objects.frame()
        absent: dict[int, None] = {}
        for frame in (texts, objects):
            lost = frame["number"].filter(pl.Series(placed[frame["number"].to_numpy()] == _ABSENT))
            absent |= dict.fromkeys(lost.unique(maintain_order=True).to_list())
        for number in absent:
            id = ids[number]
            file.trouble(f"{file.path.name}#id:{id}", f"annotations of image {id}, which is not among its images")
        self._texts.append(_rowed(texts, placed))
        self._add_objects(_rowed(objects, placed), file)

    def _place(self, images: pl.DataFrame) -> Numbers:
        """The row of each image, which is new, or known and the same; or _CLASH. Adds what is new."""
        height = self.frame.height
        first = images["name"].is_first_distinct()
        if not height:
            self.frame = (images if first.all() else images.filter(first)).drop("number")
            return np.where(first.to_numpy(), first.cum_sum().cast(pl.Int64).to_numpy() - 1, _CLASH)
        old = self.frame.select("name", *(pl.col(name).alias(f"old_{name}") for name in _SAME)).with_row_index("row")
        found = images.select("name", *_SAME).join(old, on="name", how="left", maintain_order="left")
        same = pl.all_horizontal((pl.col(name) == pl.col(f"old_{name}")).fill_null(True) for name in _SAME)
        new = found["row"].is_null() & first
        added = pl.Series(new).cum_sum().cast(pl.Int64) + (height - 1)
        known = pl.when(pl.col("row").is_not_null() & same).then(pl.col("row").cast(pl.Int64)).otherwise(_CLASH)
        rows = found.select(pl.when(pl.lit(new)).then(pl.lit(added)).otherwise(known)).to_series().to_numpy()
        more = images.select(
            pl.Series("row", rows), pl.col("url").alias("more_url"), pl.col("license").alias("more_license")
        ).filter(pl.col("row").is_between(0, height - 1))
        old = self.frame.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias("row"))
        old = old.join(more, on="row", how="left", maintain_order="left").with_columns(
            pl.coalesce(name, f"more_{name}").alias(name) for name in ("url", "license")
        )
        self.frame = pl.concat([old.select(self.frame.columns), images.filter(new).drop("number")], rechunk=False)
        return rows

    def _add_objects(self, objects: pl.DataFrame, file: CocoFile) -> None:
        """Add the counts of categories of the pictures that have none from a file before."""
        have = np.zeros(self.frame.height, bool)
        have[: len(self._have_objects)] = self._have_objects
        objects = objects.filter(~pl.Series(have[objects["row"].to_numpy()]))
        counts = objects.group_by("row", "category", maintain_order=True).len().sort("row", maintain_order=True)
        have[counts["row"].to_numpy()] = True
        self._have_objects = have
        names = [file.categories.get(category, str(category)) for category in file.category_numbers]
        self._objects.append((counts, names))

    def slices(self) -> Iterator[tuple[pl.DataFrame, pl.Series, Numbers, dict[int, dict[str, int]]]]:
        """Frames of pictures in order; with each its texts, where each picture's texts end (from 0 on), and its objects by row."""
        texts = (
            pl.concat(self._texts, rechunk=True)
            if self._texts
            else pl.DataFrame(schema={"row": pl.Int32, "text": pl.String})
        )
        self._texts.clear()
        rows = texts["row"].to_numpy()
        order = np.argsort(rows, kind="stable").astype(np.uint32)
        ends = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=self.frame.height))])
        said = texts["text"]
        for start in range(0, self.frame.height, FRAME_ROWS):
            frame = self.frame[start : start + FRAME_ROWS]
            each = ends[start : start + frame.height + 1]
            objects = self._objects_of(start, start + frame.height)
            yield frame, said.gather(order[each[0] : each[-1]]), each - each[0], objects

    def _objects_of(self, start: int, end: int) -> dict[int, dict[str, int]]:
        found: dict[int, dict[str, int]] = {}
        for counts, names in self._objects:
            first, last = (counts["row"].search_sorted(row) for row in (start, end))
            for row, category, n in counts[first:last].iter_rows():
                found.setdefault(row - start, {})[names[category]] = n
        return found


def _rowed(frame: pl.DataFrame, placed: Numbers) -> pl.DataFrame:
    """The rows whose picture has a place, with its row instead of its number."""
    rows = pl.Series("row", placed[frame["number"].to_numpy()])
    frame = frame.drop("number").with_columns(rows)
    return frame if (rows >= 0).all() else frame.filter(pl.col("row") >= 0)


def _licensed(file: CocoFile) -> pl.DataFrame:
    """A file's images with the name of the licence, and ``license_url``, which continues ``meta``."""
    told = [file.licenses.get(id, {}) for id in file.license_numbers]
    names = pl.Series([text_of(license.get("name")) for license in told], dtype=pl.String)
    urls = [license.get("url") for license in told]
    pieces = pl.Series([f", {as_json({'license_url': url})[1:-1]}" for url in urls], dtype=pl.String)
    pieces = pieces.set(pl.Series([url is None for url in urls], dtype=pl.Boolean), "")
    images = file.images.frame()
    # Gathered strings share their bytes; joined to ``meta`` each picture would have its own.
    return images.with_columns(
        names.gather(images["license"]).alias("license"),
        pieces.gather(images["license"]).fill_null("").alias("license_url"),
    )
