"""MME: yes or no, two questions a picture, in fourteen subtasks.

Fu et al., MME: A Comprehensive Evaluation Benchmark for Multimodal Large Language Models (2023). Its release has a folder a
subtask with the pictures and, for each, a text file of ``question<TAB>Yes`` and ``question<TAB>No`` (beside it, or in
``questions_answers_YN`` beside ``images``). Its tool has a list a subtask, ``SUBTASK.txt``, of ``picture<TAB>question<TAB>Yes``, which is
read where a subtask has no such files.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from captionlake.errors import CaptionlakeError
from captionlake.lake.archives import ArchiveReader, Member, MemberError, members
from captionlake.lake.benchmarks.mme_folders import subject
from captionlake.lake.benchmarks.picture_files import read_member
from captionlake.lake.reasons import FailureReason
from captionlake.lake.sources.picture_files import is_picture
from captionlake.models.evaluation.benchmark import Answered, Benchmark, Item, Score, known, of_one_name_each
from captionlake.models.evaluation.extraction import yes_or_no
from captionlake.models.evaluation.files import folder

PERCEPTION = ("existence", "count", "position", "color", "posters", "celebrity", "scene", "landmark", "artwork", "OCR")
COGNITION = ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning")
COLUMNS = ("MME-P", "MME-C")
QUESTIONS = 2  # a picture

_SUBTASKS = {name.lower(): name for name in (*PERCEPTION, *COGNITION)}
_ASKED = re.compile(r"\s*please answer yes or no\.?\s*$", re.IGNORECASE)
_SHORT = "\nAnswer the question using a single word or phrase."  # as LLaVA-1.5 is evaluated


@dataclass(frozen=True, slots=True)
class _Asked:
    subtask: str
    picture: str  # its name without a suffix
    question: str
    answer: str


class _Pictures:
    """MME's pictures by ``SUBTASK/STEM``."""

    def __init__(self, root: Path, found: dict[str, Member]) -> None:
        self._root = root
        self._found = found
        self._reader = ArchiveReader()

    def read(self, picture: str) -> bytes:
        member = self._found.get(picture)
        if member is None:
            raise MemberError(FailureReason.MISSING_MEMBER, f"no picture {picture[:200]}")
        return read_member(self._reader, self._root, member)

    def close(self) -> None:
        self._reader.close()


def read(path: Path) -> Benchmark:
    """The subtasks of a folder, wherever in it they stand."""
    root = folder(path, "MME's subtasks")
    pictures: dict[str, Member] = {}
    beside: dict[str, dict[str, list[_Asked]]] = {}  # by subtask and picture
    lists: dict[str, dict[str, list[_Asked]]] = {}
    files: list[Path] = []
    for member in members(root):
        place, stem = subject(member.name)
        within = _SUBTASKS.get(PurePosixPath(place).name.lower())
        if is_picture(member.name) and within is not None:
            pictures.setdefault(f"{within}/{stem}", member)
        elif member.reason is None and member.name.endswith(".txt"):
            listed = _SUBTASKS.get(stem.lower()) if within is None else None
            into = beside if within is not None else lists
            subtask = within or listed
            if subtask is not None and (
                asked := list(_questions(root / member.name, subtask, None if listed else stem))
            ):
                files.append(root / member.name)
                for one in asked:
                    into.setdefault(subtask, {}).setdefault(one.picture, []).append(one)
    found = lists | beside
    if not found:
        raise CaptionlakeError(
            f"{path} has no questions of MME's: give the folder with its subtasks (existence, count, …)"
        )
    items = of_one_name_each(list(_items(found, path)), path)
    if not any(item.picture in pictures for item in items):
        raise CaptionlakeError(
            f"{path} has questions of MME's and none of their pictures: unpack the subtasks' folders whole"
        )
    lacking = [name for name in (*PERCEPTION, *COGNITION) if name not in found]
    incomplete = (f"subtasks that are not there: {', '.join(lacking)}",) if lacking else ()
    return Benchmark(items=items, pictures=_Pictures(root, pictures), files=tuple(sorted(files)), incomplete=incomplete)


def _questions(path: Path, subtask: str, picture: str | None) -> Iterator[_Asked]:
    """Of a file of one ``picture``, or of a list of pictures. A list of another form, as that of a model's answers, has none."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CaptionlakeError(f"{path} cannot be read as UTF-8 ({error}): download it again") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        parts = [part.strip() for part in line.rstrip().split("\t")]
        right = parts[-1].lower().removesuffix(".")
        if len(parts) != (2 if picture is not None else 3) or right not in ("yes", "no"):
            if picture is None:
                return
            raise CaptionlakeError(f"{path}, line {number}, is not a question, a tab, and Yes or No: download it again")
        named = picture if picture is not None else PurePosixPath(parts[0]).stem
        yield _Asked(subtask, named, parts[-2], right)


def _items(found: dict[str, dict[str, list[_Asked]]], path: Path) -> Iterator[Item]:
    for subtask in sorted(found):
        for picture, asked in sorted(found[subtask].items()):
            unit = f"{subtask}/{picture}"
            if len(asked) != QUESTIONS:
                raise CaptionlakeError(
                    f"{path}: {unit} has {len(asked)} questions, and MME asks {QUESTIONS}: download it again"
                )
            for number, one in enumerate(asked):
                text = _ASKED.sub("", one.question) + _SHORT
                yield Item(id=f"{unit}:{number}", text=text, picture=unit, answer=one.answer, unit=unit, group=subtask)


def score(answers: Sequence[Answered]) -> Score:
    """Of each subtask 100 x (accuracy + accuracy+): accuracy over its questions, accuracy+ over its pictures, of which both questions must
    be right. MME-P sums ten subtasks (at most 2000), MME-C four (at most 800). An answer that says neither yes
    nor no is wrong, and counted."""
    right: dict[str, dict[str, list[bool]]] = {}
    unparsed = []
    for answered in answers:
        item, said = answered.item, yes_or_no(answered.text)
        right.setdefault(item.group, {}).setdefault(item.unit, []).append(said == item.answer)
        if said is None:
            unparsed.append(item.id)
    parts = {subtask: _subtask(list(units.values())) for subtask, units in sorted(right.items())}
    sums: dict[str, float | None] = {}
    for column, subtasks in zip(COLUMNS, (PERCEPTION, COGNITION), strict=True):
        there = [parts[name] for name in subtasks if name in parts]
        sums[column] = sum(there) if there else None
    return Score(columns=sums, parts=known({**parts}), unparsed=tuple(unparsed))


def _subtask(pictures: Sequence[Sequence[bool]]) -> float:
    flat = [one for picture in pictures for one in picture]
    both = sum(len(picture) == QUESTIONS and all(picture) for picture in pictures)
    return 100 * (sum(flat) / len(flat) + both / len(pictures))
