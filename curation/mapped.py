"""Vectors in a file, told by its path: what another process needs to map the same file, instead of a copy of it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from captionlake.curation.cosine import Vectors
from captionlake.errors import CaptionlakeError


@dataclass(frozen=True, slots=True)
class Mapped:
    """A file of float32 vectors, ``shape`` (N, D)."""

    path: Path
    shape: tuple[int, ...]

    def open(self) -> Vectors:
        """The vectors, for reading."""
        try:
            return np.memmap(self.path, np.float32, mode="r", shape=self.shape)
        except (OSError, ValueError) as error:
            raise CaptionlakeError(
                f"a node of the cluster cannot map {self.path} ({error}): the lake must lie on a disk that all nodes share"
            ) from error


def mapped(vectors: Vectors) -> Vectors | Mapped:
    """The file that the vectors are the whole of, its pages written; where there is none, the vectors."""
    if not isinstance(vectors, np.memmap) or not isinstance(vectors.filename, Path | str):
        return vectors
    path = Path(vectors.filename)
    if vectors.nbytes != path.stat().st_size or not vectors.flags.c_contiguous:
        return vectors
    vectors.flush()
    return Mapped(path.absolute(), vectors.shape)
