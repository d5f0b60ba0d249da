"""Pictures with the very same vector, found before any are compared: one of each group stands for all of it.

A placeholder picture that a site serves a thousand times in slightly different files has half a million pairs and, often, one vector.
Members of a group share every pair of the one that stands for it, so only that one is compared.
"""

from collections.abc import Sequence
from hashlib import sha256

import numpy as np
import numpy.typing as npt

from captionlake.curation.cosine import Indices, Vectors


def fold(ids: Sequence[str], vectors: Vectors, known: npt.NDArray[np.bool_]) -> tuple[Indices, Indices, Indices]:
    """(rows that stand for their group, members beside them, for each member the row that stands for it).

    A vector is told by the SHA-256 of its bytes. For a group stands its known row of the least id, where it has one, else its row of
    the least id.
    """
    first: dict[bytes, int] = {}
    groups: dict[bytes, list[int]] = {}
    for row in range(len(ids)):
        digest = sha256(vectors[row].tobytes()).digest()
        other = first.setdefault(digest, row)
        if other != row:
            groups.setdefault(digest, [other]).append(row)
    stands = np.ones(len(ids), dtype=bool)
    members: list[int] = []
    leaders: list[int] = []
    for rows in groups.values():
        leader = min(rows, key=lambda row: (not known[row], ids[row]))
        others = [row for row in rows if row != leader]
        stands[others] = False
        members += others
        leaders += [leader] * len(others)
    return np.nonzero(stands)[0], np.array(members, dtype=np.intp), np.array(leaders, dtype=np.intp)
