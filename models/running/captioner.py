"""``CheckpointCaptioner``: a checkpoint that writes captions here, as a recipe has it caption."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import pyarrow as pa

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.engines import LOCAL, Engine
from captionlake.models.captions.key import canonical
from captionlake.models.captions.pending import Pending, Row
from captionlake.models.prompts import Prompt, PromptSet
from captionlake.models.running.captioner_run import CaptionerEstimate, CaptionerRun
from captionlake.models.running.folder import CheckpointFolder
from captionlake.models.running.generation import GenerationConfig
from captionlake.models.running.loading import check_architecture
from captionlake.placement import Placement, place

_PROMPTS = "sharegpt4v"  # whose unified question is asked where a checkpoint has none of its own


@dataclass(frozen=True)
class CheckpointCaptioner:
    """A ``Captioner``; made by ``find``. The weights are read when ``params`` is asked for, and loaded to write."""

    folder: CheckpointFolder
    config: GenerationConfig
    placement: Placement
    prompt: Prompt

    @classmethod
    def find(cls, checkpoint: str | Path, config: GenerationConfig, *, question: str | None = None) -> Self:
        """``question`` stands in for that of the configuration; without either it is the one that the checkpoint was trained with.

        Raises where there is no such checkpoint, or it is no model of pictures and texts, or there is no such device.
        """
        folder = CheckpointFolder.find(checkpoint)
        check_architecture(folder)
        trained_with = folder.record.question if folder.record is not None else None
        text = config.question or question or trained_with or PromptSet.read(_PROMPTS).unified
        prompt = Prompt("question", text, hashlib.sha256(text.encode()).hexdigest())
        return cls(folder, config, place(config.device, config.precision, extra="models"), prompt)

    @property
    def captions_by(self) -> str:
        """The producer of the captions."""
        return f"captioner:{self.folder.name}"

    @cached_property
    def params(self) -> str:
        """What decides a caption beside picture and question. Other weights write other captions."""
        return canonical(self.config.params(self.placement.precision, self.folder.sha256[:16]))

    def render(self, row: Row) -> Prompt:
        """The same question for every row."""
        return self.prompt

    def expect(self, lake: Lake, rows: pa.Table) -> CaptionerEstimate:
        """How many captions are missing. Loads nothing."""
        pending, missing = Pending(lake, rows, self), 0
        while (chunk := pending.chunk()) is not None:
            missing += len(chunk)
        return CaptionerEstimate(
            producer=self.captions_by,
            rows=pending.rows,
            wanted=pending.wanted,
            pending=missing,
            question=self.prompt.text,
            precision=self.placement.precision,
            device=self.placement.device,
        )

    def caption(
        self,
        lake: Lake,
        rows: pa.Table,
        *,
        redo: bool = False,
        limit: int | None = None,
        engine: Engine = LOCAL,
    ) -> CaptionerRun:
        """See ``captioning.caption``."""
        from captionlake.models.running.captioning import caption

        if redo:
            raise CaptionlakeError(
                f"{self.captions_by} would write the same captions again: change what decides them (sampling, seed, max_tokens, question)"
            )
        return caption(lake, rows, self, limit=limit, engine=engine)
