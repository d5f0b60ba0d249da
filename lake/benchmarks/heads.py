"""Files told apart by what stands at their beginning."""

from pathlib import Path

_HEAD_BYTES = 256 * 1024


def files_with(root: Path, suffix: str, *marks: str) -> list[Path]:
    """The files of a folder, by name, that have the suffix and, near their beginning, all the marks."""
    if not root.is_dir():
        return []
    return [path for path in sorted(root.glob(f"*{suffix}")) if path.is_file() and _has(path, marks)]


def _has(path: Path, marks: tuple[str, ...]) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return False
    return all(mark.encode() in head for mark in marks)
