"""Reading a benchmark's own files. They are fixed: what is broken in them is an error, with its file and line."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from captionlake.errors import CaptionlakeError
from captionlake.lake.benchmarks import PictureFiles
from captionlake.models.evaluation.benchmark import Item

_LARGEST = 256 * 2**20  # bytes of a JSON file; the largest of them, SEED-Bench's, has some ten million
_SHOWN = 10
T = TypeVar("T")


def folder(path: Path, what: str) -> Path:
    """The path, where it is a folder."""
    if not path.is_dir():
        kind = "is a file" if path.exists() else "does not exist"
        raise CaptionlakeError(f"{path} {kind}: give the folder with {what}")
    return path


def only(paths: Sequence[Path], root: Path, what: str) -> Path:
    """The one file of its kind in a folder."""
    if not paths:
        raise CaptionlakeError(
            f"{root} has no {what}: give the benchmark's files as they are published (docs/evaluation.md)"
        )
    if len(paths) > 1:
        names = ", ".join(path.name for path in paths[:_SHOWN])
        raise CaptionlakeError(
            f"{root} has several files that could be {what} ({names}): give a folder with one of them"
        )
    return paths[0]


def json_document(path: Path) -> Any:
    """A JSON file."""
    data = _read(path)
    try:
        return json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise CaptionlakeError(f"{path} is not JSON in UTF-8 ({error}): download it again") from error


def json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, object) of a file with an object a line; empty lines are read over."""
    for number, line in enumerate(_read(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise CaptionlakeError(f"{path}, line {number}, is not JSON ({error}): download it again") from error
        if not isinstance(row, dict):
            raise CaptionlakeError(f"{path}, line {number}, is no object: download it again")
        yield number, row


def field(row: dict[str, Any], name: str, kind: type[T], where: str) -> T:
    """A value of a row, of the kind that it must have."""
    value = row.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise CaptionlakeError(f"{where} has no {name}, or not as {kind.__name__}: download its file again")
    return value


def text(row: dict[str, Any], name: str, where: str) -> str:
    """A value that is a text, or a number read as one, and not empty."""
    value = row.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise CaptionlakeError(f"{where} has no {name}: download its file again")
    return value


def with_pictures(pictures: PictureFiles, items: Sequence[Item], root: Path) -> PictureFiles:
    """The pictures. Raises where not one of the items finds its own there; single ones that are missing are counted later."""
    if items and not any(pictures.find(item.picture) for item in items):
        pictures.close()
        raise CaptionlakeError(
            f"{root} has none of the pictures that its questions name ({items[0].picture[:80]}, …): put them, or their zip, into it"
        )
    return pictures


def hashes(files: Sequence[Path]) -> dict[str, str]:
    """SHA-256 by name, hex; of more than ten files, that of their names' and hashes' list."""
    found = [(path.name, _sha256(path)) for path in files]
    if len(found) <= _SHOWN:
        return dict(found)
    listed = "".join(f"{path.parent.name}/{name} {digest}\n" for path, (name, digest) in zip(files, found, strict=True))
    return {f"{len(found):,} files": hashlib.sha256(listed.encode()).hexdigest()}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > _LARGEST:
            raise CaptionlakeError(f"{path} has over {_LARGEST >> 20} MiB: give the benchmark's own file")
        return path.read_bytes()
    except OSError as error:
        raise CaptionlakeError(f"{path} cannot be read ({error.strerror}): check its path and rights") from error
