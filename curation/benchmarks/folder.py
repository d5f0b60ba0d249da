"""Any folder, zip or tar of pictures: each picture is an item, named by its path."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from captionlake.curation.benchmarks.benchmark import Benchmark, Item, item_name, item_of
from captionlake.lake.archives import ArchiveReader, members
from captionlake.lake.benchmarks.picture_files import read_member
from captionlake.lake.sources.picture_files import is_picture, picture_members


def found(root: Path) -> Benchmark:
    """The folder as a benchmark of its own name."""

    def items() -> Iterator[Item]:
        with ArchiveReader() as reader:
            for member in picture_members(root):
                yield item_of(item_name(member.name), partial(read_member, reader, root, member))

    others = sum(1 for member in members(root) if not is_picture(member.name))
    note = "no benchmark's form was found: read as a folder of pictures"
    if others:
        note += f"; {others:,} other files were not read"
    return Benchmark(name=root.stem or "folder", form="folder of pictures", files=(root,), items=items, note=note)
