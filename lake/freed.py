"""What a step that tidies removed."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Freed:
    """Files removed, and their bytes."""

    files: int = 0
    n_bytes: int = 0

    def __add__(self, other: "Freed") -> "Freed":
        return Freed(self.files + other.files, self.n_bytes + other.n_bytes)

    @classmethod
    def of(cls, paths: Iterable[Path]) -> "Freed":
        """Files and folders as they lie there; one that is gone, as after a kill, counts without bytes."""
        sizes = [_size(path) for path in paths]
        return cls(len(sizes), sum(sizes))


def _size(path: Path) -> int:
    try:
        if path.is_dir():
            return sum(_size(inner) for inner in path.iterdir())
        return path.lstat().st_size
    except OSError:
        return 0
