"""``too_short``: fewer words than a caption of its collection ought to have. Only of texts that a model wrote."""

from captionlake.curation.flags.config import FlagConfig
from captionlake.curation.flags.flag import Caption, Finding, Flag
from captionlake.curation.flags.text import words

VERSION = 1


def too_short(caption: Caption, config: FlagConfig) -> Finding | None:
    """Words are counted as they stand between punctuation and blanks."""
    if not caption.is_made:
        return None
    least = config.least_words(caption.collection)
    if len(caption.text) > 12 * least:  # no language's words are so long on average
        return None
    n = len(words(caption.text))
    if n >= least:
        return None
    return Finding(flag=Flag.TOO_SHORT, detail=f"{n} words, {caption.collection or 'any'} wants {least}")
