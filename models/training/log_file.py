"""``log.csv`` of a run: a line for each ``log_every`` steps, on the disk as soon as it is written."""

import csv
import io
import os
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from captionlake.errors import CaptionlakeError
from captionlake.lake.durable import replace_text

LOG = "log.csv"


@dataclass(frozen=True, slots=True)
class LogLine:
    """``loss``: the mean over the steps since the line before, each weighed the same; ``grad_norm``: of the last step, before clipping;
    ``lr``: that it used; ``samples`` since the start of the run; ``seconds`` since this process began to train."""

    step: int
    epoch: float
    loss: float
    grad_norm: float
    lr: float
    samples: int
    samples_per_s: float
    seconds: float


class LogFile:
    """Opened for a run that begins at ``step``: later lines, of a run that was interrupted behind its last checkpoint, are cut off."""

    def __init__(self, path: Path, step: int) -> None:
        kept = [line for line in read_log(path) if line.step <= step] if step else []
        path.parent.mkdir(parents=True, exist_ok=True)
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerow([one.name for one in fields(LogLine)])
        csv.writer(text, lineterminator="\n").writerows(map(astuple, kept))
        replace_text(path, text.getvalue())
        self._file = path.open("a", newline="", encoding="utf-8")

    def add(self, line: LogLine) -> None:
        csv.writer(self._file, lineterminator="\n").writerow(astuple(line))
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def read_log(path: Path) -> list[LogLine]:
    """The lines that are whole. A kill can leave half a last one."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        lines = file.read().split("\n")
    return list(_parsed(path, lines[1:-1]))  # behind the last line feed stands nothing, or half a line


def _parsed(path: Path, lines: Iterable[str]) -> Iterable[LogLine]:
    kinds: list[Any] = [int if one.type is int else float for one in fields(LogLine)]
    for row in csv.reader(lines):
        try:
            yield LogLine(*(kind(value) for kind, value in zip(kinds, row, strict=True)))
        except ValueError as error:
            raise CaptionlakeError(
                f"{path} has a line that is none of a log ({','.join(row)[:80]}): remove the file"
            ) from error
