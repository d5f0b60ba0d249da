"""``Teacher``: a model behind an endpoint, as a recipe has it caption."""

from pathlib import Path
from typing import Self

import pyarrow as pa

from captionlake.lake import Lake
from captionlake.lake.engines import LOCAL, Engine
from captionlake.models.prompts import PromptSet
from captionlake.models.teacher.caption_run import CaptionRun
from captionlake.models.teacher.captioning import caption, estimate
from captionlake.models.teacher.pending import Asked, Estimate
from captionlake.models.teacher.teacher_config import TeacherConfig


class Teacher(Asked):
    """A ``Captioner`` that asks, and may cost money."""

    @classmethod
    def asked(cls, config: TeacherConfig, prompts: PromptSet | str | Path) -> Self:
        """With prompts by a built-in name, from a file, or read already."""
        return cls.of(config, prompts if isinstance(prompts, PromptSet) else PromptSet.read(prompts))

    def expect(self, lake: Lake, rows: pa.Table) -> Estimate:
        """What is missing, and its price; needs no key."""
        return estimate(lake, rows, self.config, self.prompts)

    def caption(self, lake: Lake, rows: pa.Table, *, redo: bool = False, engine: Engine = LOCAL) -> CaptionRun:
        """See ``captioning.caption``. The endpoint is asked from this process, whichever the ``engine``."""
        return caption(lake, rows, self.config, self.prompts, redo=redo)
