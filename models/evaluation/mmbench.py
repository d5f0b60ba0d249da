"""MMBench: one of up to five options; each question is asked several times with its options moved around.

Liu et al., MMBench: Is Your Multi-modal Model an All-around Player? (2023). Its TSV has ``index``, ``question``, ``hint``, ``A`` to ``D``,
``answer``, ``category`` and the picture; a pass of the circular evaluation has the index of its question plus a multiple of 1,000,000.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from captionlake.errors import CaptionlakeError
from captionlake.lake.archives import MemberError
from captionlake.lake.benchmarks import picture_in, table_columns, table_rows
from captionlake.lake.reasons import FailureReason
from captionlake.models.evaluation.benchmark import Answered, Benchmark, Item, Score, known, of_one_name_each, share
from captionlake.models.evaluation.extraction import letter_or_text
from captionlake.models.evaluation.files import only

PASS = 1_000_000
_LETTERS = "ABCDE"
_EMPTY = ("", "nan")
_ASK = {
    "MMB": "Answer with the option's letter from the given choices directly.",
    "MMB-CN": "请直接回答选项字母。",
}  # as LLaVA-1.5 is evaluated


class _Pictures:
    """Pictures of a table by index; the same bytes in several rows are held once."""

    def __init__(self) -> None:
        self._by_index: dict[str, bytes | str] = {}
        self._held: dict[bytes, bytes] = {}

    def add(self, index: str, image: str) -> None:
        picture = picture_in(image)
        if isinstance(picture, bytes):
            picture = self._held.setdefault(hashlib.sha256(picture).digest(), picture)
        self._by_index[index] = picture

    def any(self) -> bool:
        """Whether there is any picture."""
        return bool(self._held)

    def read(self, picture: str) -> bytes:
        found = self._by_index.get(picture)
        if isinstance(found, str):
            found = self._by_index.get(found)
        if not isinstance(found, bytes):
            raise MemberError(FailureReason.MISSING_MEMBER, f"no picture at index {picture}")
        return found

    def close(self) -> None:
        self._by_index.clear()


def read(path: Path, column: str = "MMB") -> Benchmark:
    """A TSV, or the folder that has one."""
    if not path.exists():
        raise CaptionlakeError(f"{path} does not exist: give MMBench's TSV")
    table = only(sorted(path.glob("*.tsv")), path, "MMBench's TSV") if path.is_dir() else path
    lacking = [name for name in ("index", "question", "A", "B", "answer", "image") if name not in table_columns(table)]
    if lacking == ["answer"]:
        raise CaptionlakeError(
            f"{table} has no answers (the test split's are with MMBench's server alone): give the dev split"
        )
    if lacking:
        raise CaptionlakeError(f"{table} has no column {', '.join(lacking)}: give MMBench's TSV")
    pictures, items = _Pictures(), []
    for row in table_rows(table):
        where = f"{table}, line {row.line},"
        if row.values is None:
            raise CaptionlakeError(f"{where} is no row of MMBench's ({row.problem}): download it again")
        items.append(_item(row.values, where, column))
        with suppress(ValueError):  # it is counted as an item without a picture
            pictures.add(row.values["index"], row.values["image"])
    found = of_one_name_each(items, table)
    if not pictures.any():
        raise CaptionlakeError(f"{table} has no pictures in its column image: download it again")
    return Benchmark(items=found, pictures=pictures, files=(table,), incomplete=_circular(found))


def _item(row: dict[str, str], where: str, column: str) -> Item:
    index = row["index"]
    if not index.isdecimal():
        raise CaptionlakeError(f"{where} has no number as its index: download it again")
    options = []
    for name in _LETTERS:
        if row.get(name, "").strip().lower() in _EMPTY:
            break
        options.append((name, row[name].strip()))
    answer = row["answer"].strip().upper()
    if answer not in [name for name, _ in options]:
        raise CaptionlakeError(f"{where} has no answer among its options: give the dev split's TSV, as it is published")
    hint = row.get("hint", "").strip()
    asked = [] if hint.lower() in (*_EMPTY, "none") else [hint]
    asked += [row["question"].strip(), *(f"{name}. {text}" for name, text in options), _ASK[column]]
    return Item(
        id=index,
        text="\n".join(asked),
        picture=index,
        answer=answer,
        unit=str(int(index) % PASS),
        group=row.get("category", "").strip(),
        options=tuple(options),
    )


def _circular(items: Sequence[Item]) -> tuple[str, ...]:
    passes = Counter(item.unit for item in items)
    short = len({item.unit for item in items if passes[item.unit] < len(item.options)})
    return (f"{short:,} questions have fewer passes than options: no circular evaluation",) if short else ()


def score(answers: Sequence[Answered], column: str = "MMB") -> Score:
    """Per cent of the questions that are right in every pass (the paper's CircularEval). The choice is the answer's letter,
    else the option whose text it gives; MMBench's own tool asks GPT-4 where both fail, here the answer is wrong, and counted."""
    right: dict[str, bool] = {}
    groups: dict[str, str] = {}
    unparsed = []
    for answered in answers:
        item, said = answered.item, letter_or_text(answered.text, answered.item.options)
        right[item.unit] = right.get(item.unit, True) and said == item.answer
        groups[item.unit] = item.group
        if said is None:
            unparsed.append(item.id)
    by_group: dict[str, list[bool]] = {}
    for unit, one in right.items():
        by_group.setdefault(groups[unit], []).append(one)
    parts = {name: share(sum(found), len(found)) for name, found in sorted(by_group.items()) if name}
    return Score(columns={column: share(sum(right.values()), len(right))}, parts=known(parts), unparsed=tuple(unparsed))
