"""``EvalConfig``: what a checkpoint is evaluated on, and how it answers."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, StrictInt, model_validator
from pydantic.dataclasses import dataclass

from captionlake.models.teacher import TeacherConfig

Count = Annotated[StrictInt, Field(ge=1)]


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class EvalConfig:
    """``benchmarks``: where the files of each lie, by its name. Without a ``judge``, the answers of judged benchmarks are made and kept,
    and wait for one.

    ``limit``: of each benchmark so many questions (pictures of MME, questions of MMBench with all their passes), spread over it.
    ``max_tokens`` of a free answer, 1,024 without it. ``seed`` draws the questions of ``pope-lake``. ``device`` and ``precision`` as for
    captions; ``batch_size`` is 32 on a GPU and 8 elsewhere.
    """

    benchmarks: dict[str, Path]
    judge: TeacherConfig | None = None
    limit: Count | None = None
    max_tokens: Count | None = None
    seed: StrictInt = 0
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    batch_size: Count | None = None

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.benchmarks:
            raise ValueError("no benchmark is named: give at least one, such as mme=DIR")
        if self.judge is not None and self.judge.mode != "live":
            raise ValueError("a judge is asked live: leave `mode` out of its settings")
        return self


def judge_config(model: str, *, url: str | None = None, **settings: object) -> TeacherConfig:
    """The judge. Where ``settings`` (keys of ``[caption.endpoint]``) say nothing else: temperature 0, short replies, 16 at a time."""
    usual: dict[str, object] = {"temperature": 0.0, "max_tokens": 512, "max_concurrency": 16}
    told = usual | ({"base_url": url} if url is not None else {}) | settings
    return TeacherConfig(model=model, **told)  # type: ignore[arg-type]
