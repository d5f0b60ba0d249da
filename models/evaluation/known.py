"""The benchmarks that are known, by name."""

from functools import partial

from captionlake.models.evaluation import llava_wild, mm_vet, mmbench, mme, pope, pope_lake, seed_bench
from captionlake.models.evaluation.benchmark import Kind

SHORT = 16  # tokens of a yes, a letter or an option
LONG = 1024  # as LLaVA-1.5 is evaluated


def kinds(seed: int = 0) -> dict[str, Kind]:
    """``seed`` draws what ``pope-lake`` asks."""
    found = [
        Kind(name="mme", max_tokens=SHORT, read=mme.read, score=mme.score),
        Kind(name="mmbench", max_tokens=SHORT, read=mmbench.read, score=mmbench.score),
        Kind(
            name="mmbench-cn",
            max_tokens=SHORT,
            read=partial(mmbench.read, column="MMB-CN"),
            score=partial(mmbench.score, column="MMB-CN"),
        ),
        Kind(name="seed", max_tokens=SHORT, read=seed_bench.read, score=seed_bench.score),
        Kind(name="mm-vet", max_tokens=LONG, read=mm_vet.read, score=mm_vet.score, judge=mm_vet.judge),
        Kind(name="llava-w", max_tokens=LONG, read=llava_wild.read, score=llava_wild.score, judge=llava_wild.judge),
        Kind(name="pope", max_tokens=SHORT, read=pope.read, score=pope.score),
        Kind(
            name="pope-lake",
            max_tokens=SHORT,
            read=partial(pope_lake.read, seed=seed),
            score=partial(pope.score, column="POPE-lake"),
        ),
    ]
    return {kind.name: kind for kind in found}
