"""All checks of one text, and the tag that notes each in the lake.

A tag is ``FLAG=FINGERPRINT``: a caption that has the tag of today's checker and configuration need not be checked again.
"""

from collections.abc import Collection, Iterable
from dataclasses import replace

from captionlake.curation.flags import (
    cut_off,
    disagreement,
    hedging,
    language,
    leaked_prompt,
    personal_data,
    refusal,
    repetition,
    too_short,
)
from captionlake.curation.flags.config import FlagConfig
from captionlake.curation.flags.flag import Caption, Finding, Flag

SOURCE_FLAGS = (Flag.CONTRADICTS_SOURCE, Flag.OMITS_SOURCE)
_VERSIONS: dict[Flag, int] = {
    Flag.REFUSAL: refusal.VERSION,
    Flag.HEDGING: hedging.VERSION,
    Flag.REPETITION: repetition.VERSION,
    Flag.CUT_OFF: cut_off.VERSION,
    Flag.LEAKED_PROMPT: leaked_prompt.VERSION,
    Flag.WRONG_LANGUAGE: language.VERSION,
    Flag.TOO_SHORT: too_short.VERSION,
    Flag.PERSONAL_DATA: personal_data.VERSION,
    Flag.CONTRADICTS_SOURCE: disagreement.VERSION,
    Flag.OMITS_SOURCE: disagreement.VERSION,
}
TEXT_FLAGS = tuple(_VERSIONS)  # all that one caption alone decides


def tag(flag: Flag, config: FlagConfig) -> str:
    """Notes that a caption was checked for the flag as this configuration has it."""
    return f"{flag}={config.fingerprint(flag, _VERSIONS[flag])}"


def check(caption: Caption, config: FlagConfig, flags: Collection[Flag] = TEXT_FLAGS) -> list[Finding]:
    """What is found of a caption among ``flags``, in their order; at most one finding a flag. No detail holds personal data."""
    return [
        finding if finding.flag == Flag.PERSONAL_DATA else _without_personal_data(finding, config)
        for finding in _findings(caption, config, flags)
        if finding is not None and finding.flag in flags
    ]


def _without_personal_data(finding: Finding, config: FlagConfig) -> Finding:
    return replace(finding, detail=personal_data.without_personal_data(finding.detail, config))


def _findings(caption: Caption, config: FlagConfig, flags: Collection[Flag]) -> Iterable[Finding | None]:
    if Flag.REFUSAL in flags:
        yield refusal.refusal(caption)
    if Flag.HEDGING in flags:
        yield hedging.hedging(caption, config)
    if Flag.REPETITION in flags:
        yield repetition.repetition(caption, config)
    if Flag.CUT_OFF in flags:
        yield cut_off.cut_off(caption)
    if Flag.LEAKED_PROMPT in flags:
        yield leaked_prompt.leaked_prompt(caption)
    if Flag.WRONG_LANGUAGE in flags:
        yield language.wrong_language(caption, config)
    if Flag.TOO_SHORT in flags:
        yield too_short.too_short(caption, config)
    if Flag.PERSONAL_DATA in flags:
        yield personal_data.personal_data(caption, config)
    if not {*SOURCE_FLAGS}.isdisjoint(flags) and (caption.objects is not None or caption.ocr is not None):
        yield from disagreement.disagreement(caption, config)
