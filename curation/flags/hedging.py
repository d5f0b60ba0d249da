"""``hedging``: much of the text guesses. The paper's prompt asks for what can be determined with confidence. English alone."""

import re

from captionlake.curation.flags.config import FlagConfig
from captionlake.curation.flags.flag import Caption, Finding, Flag
from captionlake.curation.flags.text import sentences, words

VERSION = 1
_HEDGE = re.compile(
    r"\b(?:possibly|perhaps|maybe|probably|presumably|apparently|seemingly|likely|unlikely|potentially|conceivably"
    r"|(?:might|may|could)\s+(?:also\s+|possibly\s+|well\s+)?(?:be|have|indicate|suggest|represent|imply|serve)"
    r"|appears?\s+(?:to|as|like)|appearing\s+to|it\s+appears|seems?\b|seeming\s+to"
    r"|suggest(?:s|ing)\s+(?:that|a|an|the|it|he|she|they|this)|hint(?:s|ing)\s+(?:at|that)|impl(?:ies|ying)\s+(?:that|a)"
    r"|(?:un|not\s+)clear\s+(?:if|whether|what|who|where)|(?:hard|difficult|impossible)\s+to\s+(?:tell|say|determine|discern)"
    r"|looks?\s+(?:like|as\s+if)|as\s+if|i\s+(?:think|believe|guess|assume)|one\s+(?:can|could|might)\s+(?:assume|imagine|infer)"
    r"|can\s+be\s+(?:assumed|inferred))\b",
    re.IGNORECASE,
)
_LETTERS = re.compile(r"[a-z]+")
_STANDING = frozenset([
    "possibly", "perhaps", "maybe", "probably", "presumably", "apparently", "seemingly", "likely", "unlikely",
    "potentially", "conceivably", "might", "may", "could", "appear", "appears", "appearing", "seem", "seems",
    "seeming", "suggest", "suggests", "suggesting", "hints", "hinting", "implies", "implying", "unclear", "clear",
    "hard", "difficult", "impossible", "look", "looks", "if", "think", "believe", "guess", "assume", "imagine",
    "infer", "assumed", "inferred",
])  # of each hedge, a word that stands in it  # fmt: skip


def hedging(caption: Caption, config: FlagConfig) -> Finding | None:
    """The share of sentences that hedge is above ``hedging_share``, of at least ``hedging_sentences`` sentences."""
    if sum(map(_STANDING.__contains__, words(caption.text))) < 2:
        return None
    text = caption.text
    spans = list(sentences(text))
    if len(spans) < config.hedging_sentences:
        return None
    doubtful = [span for span in spans if not _STANDING.isdisjoint(_LETTERS.findall(text[slice(*span)].lower()))]
    if len(doubtful) <= config.hedging_share * len(spans):
        return None
    found = [[match.span() for match in _HEDGE.finditer(text, *span)] for span in doubtful]
    hedged = sum(map(bool, found))
    if hedged <= config.hedging_share * len(spans):
        return None
    hedges = [span for some in found for span in some]
    return Finding(flag=Flag.HEDGING, detail=f"{hedged} of {len(spans)} sentences hedge", spans=tuple(hedges))
