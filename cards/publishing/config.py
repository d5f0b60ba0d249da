"""Where a data set or a model is published, and who may see it: ``[publish]`` of a recipe, and the command's options."""

from dataclasses import dataclass
from typing import Annotated, Literal

import pydantic
from pydantic import AfterValidator, ConfigDict


def _repo_id(text: str) -> str:
    if problem := repo_problem(text):
        raise ValueError(problem)
    return text


def repo_problem(repo_id: str) -> str | None:
    """What is wrong with the id of a repository, by huggingface_hub's own rule."""
    from captionlake.errors import require

    require("huggingface_hub", extra="cards")
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(repo_id)
    except HFValidationError:
        pass
    else:
        if "/" in repo_id:
            return None
    return f"{repo_id!r} is no repository's id: write OWNER/NAME of letters, digits, '-', '_' and '.', 96 at most"


@pydantic.dataclasses.dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class PublishConfig:
    """``private``, ``gated``: left out, a repository stays as it is, and a new one is public and open."""

    repo_id: Annotated[str, AfterValidator(_repo_id)]
    private: bool | None = None
    gated: Literal["auto", "manual"] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishOptions:
    """As ``PublishConfig``. ``dry_run`` sends nothing; ``erase_history`` rewrites the repository's past, after a takedown."""

    private: bool | None = None
    gated: Literal["auto", "manual"] | None = None
    dry_run: bool = False
    erase_history: bool = False
