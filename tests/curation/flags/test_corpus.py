"""Every text flag on captions written for it, true and false cases, with precision and recall printed (pytest -s)."""

import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from captionlake.curation.flags import Flag, FlagConfig
from captionlake.curation.flags.checking import TEXT_FLAGS, check
from captionlake.curation.flags.job import caption_of

CORPUS = tomllib.loads((Path(__file__).parent / "corpus.toml").read_text())["caption"]
KNOWN_MISSES = {"Unfortunately this is not something that I can talk about. Let us speak of another picture."}


def found(case: dict[str, Any], flags: tuple[Flag, ...]) -> set[str]:
    told = {name: value for name, value in case.items() if name not in ("about", "flags")}
    return {str(finding.flag) for finding in check(caption_of(told), FlagConfig(), flags)}


@pytest.mark.parametrize("case", CORPUS, ids=lambda case: f"{case['about']}-{case['text'][:30]}")
def test_case(case: dict[str, Any]) -> None:
    """Each case by the flag that it is there for; what is known to be missed must stay so, or be taken from the list."""
    right = found(case, (Flag(case["about"]),)) == set(case["flags"])
    assert right != (case["text"] in KNOWN_MISSES)


def test_precision_and_recall() -> None:
    """Of each flag over the whole corpus, but for length, which most of its captions lack, and cut ends."""
    lines, least = [], 1.0
    for flag in TEXT_FLAGS:
        cases = [case for case in CORPUS if flag not in ("too_short", "cut_off") or case["about"] == flag]
        wanted = [flag in case["flags"] for case in cases]
        given = [flag in found(case, (flag,)) for case in cases]
        hits = sum(a and b for a, b in zip(wanted, given, strict=True))
        precision, recall = hits / max(1, sum(given)), hits / sum(wanted)
        least = min(least, precision)
        lines.append(f"{flag:20} {len(cases):4} captions  precision {precision:.2f}  recall {recall:.2f}")
        wrong = [case["text"] for case, a, b in zip(cases, wanted, given, strict=True) if a != b]
        lines += [f"    {text[:110]}" for text in wrong]
    sys.stdout.write("\n".join(["", f"{len(CORPUS)} captions", *lines, ""]))
    assert least >= 0.75
