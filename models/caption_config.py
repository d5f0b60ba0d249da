"""Who captions, and which captions are taken: ``[caption]`` of a recipe."""

from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import ConfigDict, Field, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from captionlake.errors import CaptionlakeError
from captionlake.models.running.generation import GenerationConfig
from captionlake.models.teacher import EndpointConfig, TeacherConfig

if TYPE_CHECKING:
    from captionlake.models.captions import Captioner
    from captionlake.models.running import CheckpointCaptioner

#: producers of captions that sources bring: their own texts, and the two captioners of ShareGPT4V's released files
BROUGHT = ("source", "gpt4-vision", "share-captioner")
TEACHER = "openai:"
PROMPTS = "sharegpt4v"

Name = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class CaptionConfig:
    """``captioner`` "source" takes the texts that came with the pictures, "gpt4-vision" or "share-captioner" those that the
    source ``sharegpt4v`` joined onto them; "openai:MODEL" asks a model, with ``prompts`` (a built-in name or a file) and for no
    more than the budget (US dollars), at the ``endpoint``. Any other is a checkpoint (a folder, or a name on the Hub) that runs here, as
    ``generation`` says; of ``prompts`` it is asked the unified one.

    ``refuse`` names flags that a caption of the release must not have. A picture without an accepted caption gives its place to
    the next of its quota.
    """

    captioner: Name
    prompts: Name | None = None
    max_cost_usd: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)] | None = None
    refuse: tuple[Name, ...] = ()
    endpoint: EndpointConfig | None = None
    generation: GenerationConfig | None = None

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        if self.captioner.startswith(TEACHER) and not self.captioner.removeprefix(TEACHER).strip():
            raise ValueError("`captioner` names no model: write openai:MODEL, as the endpoint calls it")
        of_asked, of_checkpoint = "binds a model that is asked", "is of a checkpoint that runs here"
        wrong = {"max_cost_usd": of_asked, "endpoint": of_asked} if not self.is_asked else {}
        wrong |= {"generation": of_checkpoint} if not self.is_checkpoint else {}
        wrong |= {"prompts": of_asked} if self.is_brought else {}
        for name, what in wrong.items():
            if getattr(self, name) is not None:
                raise ValueError(f"`{name}` {what}, and {self.captioner} is none: leave it out")
        return self

    @property
    def is_brought(self) -> bool:
        """Whether captions came with the pictures, so that no model writes any."""
        return self.captioner in BROUGHT

    @property
    def is_asked(self) -> bool:
        """Whether a model behind an endpoint writes them."""
        return self.captioner.startswith(TEACHER)

    @property
    def is_checkpoint(self) -> bool:
        """Whether a model that runs here writes them."""
        return not self.is_brought and not self.is_asked

    def teacher(self) -> TeacherConfig | None:
        """The model to ask; None where none is asked."""
        if not self.is_asked:
            return None
        endpoint = self.endpoint or EndpointConfig()
        options = {name: getattr(endpoint, name) for name in EndpointConfig.__dataclass_fields__}
        model = self.captioner.removeprefix(TEACHER)
        return TeacherConfig(**options, model=model, max_cost_usd=self.max_cost_usd)

    def model(self) -> "Captioner":
        """Who writes the captions. A checkpoint is looked at, and not loaded yet. Not for captions that sources brought."""
        teacher = self.teacher()
        if teacher is None:
            return self.checkpoint()
        from captionlake.models.teacher import Teacher

        return Teacher.asked(teacher, self.prompts or PROMPTS)

    def checkpoint(self) -> "CheckpointCaptioner":
        """The checkpoint that writes the captions here."""
        from captionlake.models.prompts import PromptSet
        from captionlake.models.running import CheckpointCaptioner

        question = PromptSet.read(self.prompts).unified if self.prompts is not None else None
        return CheckpointCaptioner.find(self.captioner, self.generation or GenerationConfig(), question=question)


def with_checkpoint(config: CaptionConfig | None, captioner: str | None, generation: dict[str, Any]) -> CaptionConfig:
    """The configuration with another captioner, a checkpoint, and some settings of ``GenerationConfig`` in place of its own."""
    own = config is not None and config.is_checkpoint
    name = captioner or (config.captioner if config is not None else "")
    if name in BROUGHT or name.startswith(TEACHER):
        raise CaptionlakeError(f"{name} is no checkpoint: give the folder of one, or its name on the Hub")
    before = config.generation if config is not None and own else None
    changed = {one: getattr(before, one) for one in GenerationConfig.__dataclass_fields__} if before is not None else {}
    try:
        return CaptionConfig(
            captioner=name,
            prompts=config.prompts if config is not None and own else None,
            refuse=config.refuse if config is not None else (),
            generation=GenerationConfig(**changed | generation),
        )
    except ValidationError as error:
        raise CaptionlakeError(f"--captioner {name}: {error.errors()[0]['msg']}") from error
