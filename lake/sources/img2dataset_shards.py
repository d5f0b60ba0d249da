"""The shards of a folder that img2dataset made: which files make one, and whether it was finished."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from captionlake.errors import CaptionlakeError
from captionlake.lake.sources.tables import wrong_file

_STATS = "_stats.json"


@dataclass(frozen=True, slots=True)
class Shard:
    """``table`` is its Parquet, ``pictures`` its tar or folder where the pictures are not in the Parquet itself."""

    folder: str
    name: str
    table: Path | None
    pictures: Path | None
    whole: bool

    @property
    def key(self) -> str:
        return f"{self.folder}/{self.name}"


def shards(inputs: Iterable[str]) -> Iterator[Shard]:
    """The shards of folders, and of single files ``00000.tar`` or ``00000.parquet``, by name."""
    for path in map(Path, inputs):
        if path.is_dir():
            yield from _of_folder(path)
        elif path.suffix in (".tar", ".parquet") and path.is_file():
            yield _shard(path.parent, path.stem, _any_stats(path.parent))
        elif path.is_file():
            raise wrong_file(path, "no folder that img2dataset made, and no .tar or .parquet of one")
        else:
            raise CaptionlakeError(f"no file or folder {path}: check the path")


def _of_folder(folder: Path) -> Iterator[Shard]:
    names: set[str] = set()
    for entry in folder.iterdir():
        if entry.name.startswith((".", "_")):
            continue
        if entry.suffix in (".tar", ".parquet") or (entry.is_dir() and entry.name.isdigit()):
            names.add(entry.stem)
        elif entry.name.endswith(_STATS):
            names.add(entry.name.removesuffix(_STATS))
        elif entry.suffix == ".tfrecord":
            raise CaptionlakeError(
                f"{entry} is of img2dataset's form tfrecord, which is not read: run img2dataset with another output_format"
            )
    if not names:
        raise CaptionlakeError(
            f"{folder} holds no shards as img2dataset makes them (00000.parquet, 00000.tar or 00000/): give its output folder"
        )
    stats = _any_stats(folder)
    for name in sorted(names):
        yield _shard(folder, name, stats)


def _any_stats(folder: Path) -> bool:
    """Whether the folder still has the files of statistics at all: tars that went from hand to hand often lost them."""
    return next(folder.glob(f"*{_STATS}"), None) is not None


def _shard(folder: Path, name: str, stats: bool) -> Shard:
    table, tar, files = folder / f"{name}.parquet", folder / f"{name}.tar", folder / name
    return Shard(
        folder=folder.resolve().name,
        name=name,
        table=table if table.is_file() else None,
        pictures=tar if tar.is_file() else files if files.is_dir() else None,
        whole=not stats or (folder / f"{name}{_STATS}").is_file(),
    )
