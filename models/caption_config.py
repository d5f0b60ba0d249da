"""Who captions, and which captions are taken: ``[caption]`` of a recipe."""

from typing import Annotated, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from captionlake.models.teacher import EndpointConfig, TeacherConfig

#: producers of captions that sources bring: their own texts, and the two captioners of ShareGPT4V's released files
BROUGHT = ("source", "gpt4-vision", "share-captioner")
TEACHER = "openai:"
PROMPTS = "sharegpt4v"

Name = Annotated[str, Field(min_length=1)]


def _known(captioner: str) -> str:
    if captioner not in BROUGHT and not captioner.removeprefix(TEACHER).strip():
        raise ValueError("names no model: write openai:MODEL, as the endpoint calls it")
    if captioner not in BROUGHT and not captioner.startswith(TEACHER):
        brought = ", ".join(BROUGHT)
        raise ValueError(
            f"is openai:MODEL, for any OpenAI-compatible endpoint, or a producer of captions that sources bring: {brought}"
        )
    return captioner


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class CaptionConfig:
    """``captioner`` "source" takes the texts that came with the pictures, "gpt4-vision" or "share-captioner" those that the
    source ``sharegpt4v`` joined onto them; "openai:MODEL" asks a model, with ``prompts`` (a built-in name or a file) and for no
    more than the budget (US dollars), at the ``endpoint``.

    ``refuse`` names flags that a caption of the release must not have. A picture without an accepted caption gives its place to
    the next of its quota.
    """

    captioner: Annotated[str, AfterValidator(_known)]
    prompts: Name | None = None
    max_cost_usd: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)] | None = None
    refuse: tuple[Name, ...] = ()
    endpoint: EndpointConfig | None = None

    @model_validator(mode="after")
    def _of_a_teacher(self) -> Self:
        if self.captioner in BROUGHT:
            for name in ("prompts", "max_cost_usd", "endpoint"):
                if getattr(self, name) is not None:
                    raise ValueError(
                        f"`{name}` binds a model that is asked, and {self.captioner} is none: leave it out"
                    )
        return self

    def teacher(self) -> TeacherConfig | None:
        """The model to ask; None where sources brought the captions."""
        if self.captioner in BROUGHT:
            return None
        endpoint = self.endpoint or EndpointConfig()
        options = {name: getattr(endpoint, name) for name in EndpointConfig.__dataclass_fields__}
        model = self.captioner.removeprefix(TEACHER)
        return TeacherConfig(**options, model=model, max_cost_usd=self.max_cost_usd)
