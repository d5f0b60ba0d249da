"""The root verb of a sentence and its direct object, as Self-Instruct looks at instructions (Wang et al., 2023).

From the root of the parse, the nearest verb that has a noun as direct object; of verbs equally near, and of its objects, the first
in the text. A sentence in which nothing has such an object (all that is intransitive, passive or about "is") has no pair; a
name or a pronoun is no noun.
"""

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

OBJECTS = ("dobj", "obj")  # the direct object in spaCy's English labels, and in Universal Dependencies


def root_pairs(
    is_verb: npt.NDArray[np.bool_], objects: Collection[int], heads: npt.NDArray[np.int64]
) -> list[tuple[int, int]]:
    """(verb, noun) as places in the text, one a sentence that has one, in order of the text.

    ``objects``: the places of nouns that are direct objects. ``heads``: of each token the place of its head, a root's is its own (T,).
    """
    nearest: dict[int, tuple[int, int, int]] = {}  # of each root: how far the verb is from it, verb, noun
    for noun in objects:
        verb = int(heads[noun])
        if not is_verb[verb]:
            continue
        depth, at = 0, verb
        while heads[at] != at:
            at, depth = int(heads[at]), depth + 1
        found = (depth, verb, noun)
        nearest[at] = min(nearest.get(at, found), found)
    return sorted((verb, noun) for _, verb, noun in nearest.values())
