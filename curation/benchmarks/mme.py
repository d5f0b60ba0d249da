"""MME: a folder a subtask, with pictures and, for each, a text file of questions, ``question<TAB>Yes`` or ``No`` a line.

The text files stand beside the pictures, or in ``questions_answers_YN`` beside ``images``.
"""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from captionlake.curation.benchmarks.benchmark import Benchmark, Item, item_name, item_of
from captionlake.lake.archives import ArchiveReader, Member, members
from captionlake.lake.benchmarks.mme_folders import subject
from captionlake.lake.benchmarks.picture_files import read_member
from captionlake.lake.reasons import FailureReason
from captionlake.lake.sources.picture_files import is_picture

_QUESTION = re.compile(rb"[^\t\r\n]+\t[ ]*(?:Yes|No)[ ]*(?:\r?\n|$)", re.IGNORECASE)
_HEAD_BYTES = 4096
_LOOKED_AT = 200  # text files, to tell whether this is MME


def found(root: Path) -> Benchmark | None:
    """MME, where one of the first text files holds its questions."""
    if not root.is_dir():
        return None
    listed = list(members(root))
    texts = [member for member in listed if member.reason is None and member.name.endswith(".txt")]
    if not any(_holds_questions(root / text.name) for text in texts[:_LOOKED_AT]):
        return None

    def items() -> Iterator[Item]:
        return _items(root, listed, texts)

    return Benchmark(name="mme", form="MME's folders", files=(root,), items=items)


def _holds_questions(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return _QUESTION.match(file.read(_HEAD_BYTES).removeprefix(b"\xef\xbb\xbf")) is not None
    except OSError:
        return False


def _items(root: Path, listed: list[Member], texts: list[Member]) -> Iterator[Item]:
    pictures = [member for member in listed if is_picture(member.name)]
    asked = {subject(picture.name) for picture in pictures}
    with ArchiveReader() as reader:
        for picture in pictures:
            yield item_of(item_name(picture.name), partial(read_member, reader, root, picture))
    for text in texts:
        if subject(text.name) not in asked and _holds_questions(root / text.name):
            detail = "questions without a picture"
            yield Item(name=item_name(text.name), reason=FailureReason.MISSING_MEMBER, detail=detail)
