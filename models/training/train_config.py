"""``TrainConfig`` and ``LoraConfig``: the [train] and [lora] tables of a training recipe."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, StrictBool, StrictInt, model_validator
from pydantic.dataclasses import dataclass

from captionlake.models.training.data_config import Name
from captionlake.models.training.model_config import Rate

Count = Annotated[StrictInt, Field(ge=1)]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]
Amount = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class TrainConfig:
    """``output``: the folder of the checkpoint; its last part is the checkpoint's name.

    ``batch_size`` samples make a step, over all GPUs and accumulated; ``per_device`` of them are computed at once on each. The last step
    of an epoch is filled up from the epoch's beginning. ``warmup_ratio``: the share of steps in which the rate rises to ``lr``.
    ``precision`` "auto": bf16 where the GPU computes in it. ``max_grad_norm`` 0: gradients are not clipped. ``group``
    "modality_length": a step takes samples of one modality and about one length. Every ``save_every`` steps a state to go on from is
    saved, the newest ``keep`` are kept. ``workers``: processes that read and decode, on each GPU.
    """

    output: Name
    epochs: Count = 1
    max_steps: Count | None = None
    batch_size: Count = 256
    per_device: Count = 16
    lr: Rate = 2e-5
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_ratio: Share = 0.03
    weight_decay: Amount = 0.0
    max_grad_norm: Amount = 1.0
    precision: Literal["bf16", "fp32", "auto"] = "auto"
    gradient_checkpointing: StrictBool = True
    seed: Annotated[StrictInt, Field(ge=0, lt=2**32)] = 0
    group: Literal["modality_length", "none"] | None = None
    log_every: Count = 10
    save_every: Count = 500
    keep: Count = 2
    workers: Annotated[StrictInt, Field(ge=0, le=64)] = 4
    fsdp: StrictBool = False
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.save_every % self.log_every:
            above = -(-self.save_every // self.log_every) * self.log_every
            raise ValueError(
                f"`save_every` = {self.save_every} is no multiple of `log_every` = {self.log_every}, and a resumed run would average "
                f"other steps than an uninterrupted one: take {above}"
            )
        if self.batch_size % self.per_device:
            raise ValueError(
                f"`batch_size` = {self.batch_size} is no multiple of `per_device` = {self.per_device}: "
                f"take {nearest_multiple(self.batch_size, self.per_device)}"
            )
        return self


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class LoraConfig:
    """The language model's layers ``targets`` (ends of their names) learn differences of ``rank``, times ``alpha`` / ``rank``.

    Other trained parts learn whole. ``merge``: what is learned is added to the weights that are saved; else it lies in ``adapter/``
    beside them.
    """

    rank: Count = 16
    alpha: Count = 32
    dropout: Annotated[float, Field(strict=True, ge=0, lt=1)] = 0.0
    targets: Annotated[tuple[Name, ...], Field(min_length=1)] = (
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    )  # fmt: skip
    merge: StrictBool = True


def nearest_multiple(number: int, of: int) -> int:
    """The multiple of ``of``, from ``of`` on, that is nearest to ``number``."""
    return max(1, round(number / of)) * of
