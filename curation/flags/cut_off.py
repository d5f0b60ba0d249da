"""``cut_off``: the text ends where its model was stopped, not where it had ended."""

import re

from captionlake.curation.flags.flag import Caption, Finding, Flag

VERSION = 1
_STOPPED = ("length", "max_tokens", "max_output_tokens")
_FROM_WORDS = 12  # of a text that must end as a sentence does
_CLOSING = " \t\r\n\"'”’»)]}*_`"
_ENDS = ".!?…。！？"
_ITEM = re.compile(r"\s*(?:[-*•#]|\d{1,2}[.)])\s")


def cut_off(caption: Caption) -> Finding | None:
    """Stopped at its length, or, of a model's texts of 12 words or more, without a sentence's end. A last list item needs none."""
    text = caption.text.rstrip()
    tail = (max(0, len(text) - 12), len(text))
    if caption.finish_reason in _STOPPED:
        return Finding(flag=Flag.CUT_OFF, detail=f"finish_reason is {caption.finish_reason}", spans=(tail,))
    if not caption.is_made or len(text.split()) < _FROM_WORDS or text.rstrip(_CLOSING)[-1:] in _ENDS:
        return None
    last = text.rsplit("\n", 1)[-1]
    if "\n" in text and _ITEM.match(last) and last[-1:] not in ",;:-":
        return None
    return Finding(flag=Flag.CUT_OFF, detail=f"ends without a full stop: …{text[-30:]}", spans=(tail,))
