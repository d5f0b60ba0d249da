"""``GenerationConfig``: how a checkpoint that runs here writes."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StrictInt
from pydantic.dataclasses import dataclass

Count = Annotated[StrictInt, Field(ge=1)]
Name = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class GenerationConfig:
    """``question`` replaces the one that the checkpoint was trained with.

    ``sampling`` "greedy" takes the likeliest token each time, so that a picture gets the same text again; "authors" samples as
    ShareGPT4V's authors did: three beams, temperature 1, a penalty of 1.5 on what was written before, with a ``seed``.
    ``max_tokens`` of a text: without it 512, and 500 for "authors". ``precision`` "auto" is bf16 where the device computes in it.

    What follows decides no text: ``device`` ("auto" is a GPU where there is one), pictures in a batch (32 on a GPU, else 8),
    ``workers`` (processes; one a GPU), and the ``engine``: "auto" is vLLM where it is installed, there is a GPU and the
    architecture is LLaVA's.
    """

    question: Name | None = None
    sampling: Literal["greedy", "authors"] = "greedy"
    seed: Annotated[StrictInt, Field(ge=0)] = 0
    max_tokens: Count | None = None
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    device: Name = "auto"
    batch_size: Count | None = None
    workers: Count | None = None
    engine: Literal["auto", "transformers", "vllm"] = "auto"

    @property
    def most_tokens(self) -> int:
        """The longest text."""
        return self.max_tokens or (512 if self.sampling == "greedy" else 500)

    def params(self, precision: str, weights: str) -> dict[str, object]:
        """What decides a text beside picture and question: the settings, the precision made out and the weights' hash."""
        told: dict[str, object] = {
            "max_tokens": self.most_tokens,
            "precision": precision,
            "sampling": self.sampling,
            "weights": weights,
        }
        return told | ({"seed": self.seed} if self.sampling == "authors" else {})
