"""``refusal``: the model declines, or speaks of itself, where it should describe. English alone."""

import re

from captionlake.curation.flags.flag import Caption, Finding, Flag
from captionlake.curation.flags.text import shown, unquoted

VERSION = 1
# One of these stands in every refusal that the patterns know, and in few other captions.
_SIGNS = [
    "sorry", "cannot", "can not", "can't", "unable", "not able", " an ai", "no image", "language model",
    "artificial intelligence", "text-based", "not have the", "n't have the", "not have access", "n't have access",
    "apologi", "image was", "image has been", "decline", "please provide", "please upload", "please share",
    "not comfortable", "won't", "guidelines", "policy", "policies",
]  # fmt: skip
_UNABLE = r"(?:can(?:no|')t|can\s+not|could\s+not|couldn't|won't(?:\s+be\s+able\s+to)?|will\s+not\s+be\s+able\s+to)"
_DONE = r"(?:assist|help|provide|comply|identify|describe|caption|see|view|access|open|analy[sz]e|process|fulfil+|answer|generate"
_DONE += r"|create|recogni[sz]e|discuss|comment\s+on|complete|continue|give\s+you|tell\s+you|determine\s+who|say\s+who|offer|support)"
_PATTERN = re.compile(
    "|".join(
        [
            r"\b(?:i\s+am|i'm|we\s+are|we're)\s+(?:(?:very|so|really|truly)\s+)?(?:sorry|afraid)\b[,.;:—-]*\s*(?:but\s+|that\s+)?(?:i|we|as\s+an)\b",
            r"\b(?:my|sincere)\s+apologies\b|\bi\s+apologi[sz]e\b",
            rf"\bsorry,?\s+(?:but\s+)?i\s+{_UNABLE}",
            rf"\bi\s+{_UNABLE}\s+{_DONE}\b",
            rf"\b(?:i\s+am|i'm)\s+(?:unable|not\s+able|not\s+allowed|not\s+permitted)\s+to\s+{_DONE}\b",
            r"\b(?:unable|cannot)\s+to?\s*(?:assist|comply)\s+with\s+(?:this|that|the|your)\b",
            r"\b(?:i\s+)?(?:do\s+not|don't)\s+have\s+(?:the\s+)?(?:ability|capability|capacity|access)\s+to\b",
            r"\bas\s+an?\s+(?:ai|artificial\s+intelligence)(?:\s+(?:language\s+)?(?:model|assistant|system|program))?\s*,?\s+(?:i|my|model)\b",
            r"\bas\s+an?\s+(?:ai\s+|large\s+)?language\s+model\b",
            r"\bi(?:\s+am|'m)\s+(?:just\s+)?an?\s+(?:ai|(?:large\s+)?language\s+model|text-based)\b",
            r"\bno\s+image\s+(?:was|is|has\s+been)\s+(?:provided|attached|uploaded|shared|given)\b",
            r"\bplease\s+(?:provide|upload|share|attach)\s+(?:me\s+with\s+)?(?:an?|the|another|your)\s+(?:\w+\s+)?(?:image|picture|photo)",
            r"\bi\s+(?:must|have\s+to|will\s+have\s+to)\s+decline\b",
            r"\b(?:i\s+am|i'm)\s+not\s+comfortable\b",
            r"\b(?:against|violates?|due\s+to)\s+(?:my|our|openai's|the)\s+(?:content\s+|usage\s+|use-case\s+)?(?:guidelines|policy|policies)\b",
        ]
    ),
    re.IGNORECASE,
)


def refusal(caption: Caption) -> Finding | None:
    """A refusal anywhere in the text; what it quotes is a picture's own words and does not count."""
    text = caption.text.replace("’", "'")
    lower = text.lower()
    if not any(sign in lower for sign in _SIGNS):
        return None
    found = _PATTERN.search(unquoted(text))
    if found is None:
        return None
    return Finding(
        flag=Flag.REFUSAL, detail=f"says: {shown(text[found.start() : found.end() + 40])}", spans=(found.span(),)
    )
