"""``too_short``: fewer words than a caption of its collection ought to have. Only of texts that a model wrote."""

from captionlake.curation.flags.config import FlagConfig
from captionlake.curation.flags.flag import Caption, Finding, Flag

VERSION = 2


def too_short(caption: Caption, config: FlagConfig) -> Finding | None:
    """Words are what stands between blanks, as in the column ``words``."""
    if not caption.is_made:
        return None
    least = config.least_words(caption.collection)
    if len(caption.text) > 12 * least:  # no language's words are so long on average
        return None
    n = len(caption.text.split())
    if n >= least:
        return None
    return Finding(flag=Flag.TOO_SHORT, detail=f"{n} words, {caption.collection or 'any'} wants {least}")
