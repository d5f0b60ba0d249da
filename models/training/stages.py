"""The stages of training, and which family of models each trains."""

from typing import Literal

Stage = Literal["captioner", "pretrain", "sft"]
Family = Literal["captioner", "lmm"]

STAGES: tuple[Stage, ...] = ("captioner", "pretrain", "sft")
