"""``TeacherConfig``: which endpoint captions, how it is asked, how fast and for how much."""

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, StrictInt, model_validator
from pydantic.dataclasses import dataclass

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[StrictInt, Field(ge=1)]
Name = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class EndpointConfig:
    """Where requests go, how a picture is shown, how fast and how often.

    ``base_url`` ends with ``/v1``; without one it is OPENAI_BASE_URL, else OpenAI's. ``api_key_env`` names the environment variable
    with the key. Without it, OPENAI_API_KEY goes to OpenAI alone, or to where OPENAI_BASE_URL says; a local endpoint gets a
    placeholder. ``max_side`` replaces the size that ``detail`` stands for. ``price = "free"`` is for an endpoint of your own,
    ``prices`` a table like ``models/prices.toml``. ``mode = "batch"`` asks through files, for about half the price, within a day;
    ``batch_wait_s`` is how long to wait for them, and without it until they are done.
    """

    base_url: str | None = None
    api_key_env: Name | None = None
    max_tokens: Count = 1024
    max_tokens_key: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    seed: StrictInt | None = None
    detail: Literal["low", "high", "auto"] = "high"
    max_side: Annotated[StrictInt, Field(ge=16, le=8192)] | None = None
    max_concurrency: Annotated[StrictInt, Field(ge=1, le=4096)] = 256
    requests_per_minute: Positive | None = None
    tokens_per_minute: Positive | None = None
    price: Literal["free"] | None = None
    prices: Path | None = None
    timeout_s: Positive = 180.0
    max_attempts: Annotated[StrictInt, Field(ge=1, le=50)] = 8
    mode: Literal["live", "batch"] = "live"
    batch_wait_s: Annotated[float, Field(ge=0)] | None = None
    batch_poll_s: Positive = 30.0

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.base_url is not None:
            parts = urlsplit(self.base_url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError("`base_url` is no http or https address, such as http://127.0.0.1:8000/v1")
            if parts.username or parts.password or parts.query or parts.fragment:
                raise ValueError(
                    "`base_url` holds more than host and path: a key belongs in the variable that api_key_env names"
                )
        if self.price == "free" and self.prices is not None:
            raise ValueError('`price = "free"` and `prices` both: leave one out')
        return self


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class TeacherConfig(EndpointConfig):
    """``model`` as the endpoint calls it. ``producer`` is what the captions are filed under, by default ``openai:MODEL``."""

    model: Name
    producer: Name | None = None
    max_cost_usd: Positive | None = None

    @property
    def captions_by(self) -> str:
        """The producer of the captions."""
        return self.producer or f"openai:{self.model}"

    def params(self, redo: str | None = None) -> dict[str, object]:
        """What decides a reply beside picture and prompt, and so belongs to a caption's key. None is left out."""
        told = {
            "detail": self.detail,
            "max_side": self.max_side,
            "max_tokens": self.max_tokens,
            "redo": redo,
            "seed": self.seed,
            "temperature": self.temperature,
        }
        return {name: value for name, value in told.items() if value is not None}
