"""MMBench's TSV, and others of its form (``captionlake.lake.benchmarks.picture_table``)."""

from collections.abc import Iterator
from pathlib import Path

from captionlake.curation.benchmarks.benchmark import Benchmark, Item, bad_row, item_name
from captionlake.lake.benchmarks import TableRow, picture_in, table_columns, table_rows


def found(root: Path) -> list[Benchmark]:
    """The benchmarks of the TSV files in the folder, or of the one given; all files of MMBench are one benchmark."""
    paths = sorted(root.glob("*.tsv")) if root.is_dir() else [root] if root.suffix.lower() == ".tsv" else []
    by_name: dict[str, list[Path]] = {}
    for path in paths:
        if path.is_file() and {"index", "image"} <= set(table_columns(path)):
            stem = path.stem.lower()
            by_name.setdefault("mmbench" if stem.startswith("mmbench") else stem, []).append(path)
    return [_benchmark(name, tuple(files)) for name, files in by_name.items()]


def _benchmark(name: str, files: tuple[Path, ...]) -> Benchmark:
    def items() -> Iterator[Item]:
        for path in files:
            for row in table_rows(path):
                yield _item(path, row)

    return Benchmark(name=name, form="a TSV as MMBench's", files=files, items=items)


def _item(path: Path, row: TableRow) -> Item:
    if row.values is None:
        return bad_row(item_name(path.name, f"line {row.line}"), row.problem)
    name = item_name(path.name, f"index {row.values['index']}")
    try:
        picture = picture_in(row.values["image"])
    except ValueError as error:
        return bad_row(name, str(error))
    if isinstance(picture, str):
        return Item(name=name, same_as=item_name(path.name, f"index {picture}"))
    return Item(name=name, data=picture)
