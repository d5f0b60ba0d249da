"""Quality flags of captions: what to look at twice, as rows of ``caption_flags``."""

from captionlake.curation.flags.chair import Chair, chair
from captionlake.curation.flags.config import FlagConfig
from captionlake.curation.flags.flag import Flag
from captionlake.curation.flags.flagging import FlagCounts, flag_captions
from captionlake.curation.flags.refused import refused_rows

__all__ = ["Chair", "Flag", "FlagConfig", "FlagCounts", "chair", "flag_captions", "refused_rows"]
