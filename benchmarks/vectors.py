"""Made-up vectors with the statistics of CLIP's, for benchmarks of the join and of search.

What they imitate: pictures' vectors lie in a cone (a mean of half their length, so that two at random have a cosine of about 0.5, with a
standard deviation of about 0.1); variance falls as 1/i over the principal axes, so that the first 32 of 512 hold six tenths of it;
half of a vector's deviation from the mean is that of its topic, of which there is one for fifty pictures; one picture in a hundred
is a near-duplicate of another, at a cosine from 0.9 to 1.
"""

import numpy as np
import numpy.typing as npt

_PART = 50_000


def clip_like(n: int, d: int, *, seed: int = 0, near: float = 0.01) -> npt.NDArray[np.float32]:
    """(n, d) unit vectors. ``near``: the share of near-duplicates."""
    random = np.random.default_rng(seed)
    spread = np.arange(1, d + 1) ** -0.5
    spread = (spread / np.sqrt((spread**2).sum())).astype(np.float32)
    mean = random.normal(size=d)
    mean = (mean / np.linalg.norm(mean)).astype(np.float32)
    topics = random.standard_normal((max(2, n // 50), d), np.float32) * spread
    vectors = np.empty((n, d), np.float32)
    for at in range(0, n, _PART):
        part = vectors[at : at + _PART]
        own = random.standard_normal(part.shape, np.float32) * spread
        part[:] = mean + np.float32(0.5**0.5) * (topics[random.integers(0, len(topics), len(part))] + own)
    copies, originals = random.choice(n, int(n * near), replace=False), random.integers(0, n, int(n * near))
    shift = random.standard_normal((len(copies), d), np.float32)
    shift /= np.linalg.norm(shift, axis=1, keepdims=True)
    vectors[copies] = vectors[originals] + shift * random.uniform(0, 0.6, (len(copies), 1)).astype(np.float32)
    for at in range(0, n, _PART):
        vectors[at : at + _PART] /= np.linalg.norm(vectors[at : at + _PART], axis=1, keepdims=True)
    return vectors
