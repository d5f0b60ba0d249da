"""What one ingest is told: the source, its files, and what to say about them. ``[[ingest]]`` of a recipe."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, StrictBool, model_validator
from pydantic.dataclasses import dataclass

from captionlake.lake.guard import FetchPolicy
from captionlake.lake.reasons import FailureReason

Text = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class IngestConfig:
    """One source's files and options. What is None falls back to what the source itself says.

    ``collection`` is the name that quotas use. ``limit`` takes the first rows alone. ``retry_failed`` tries the rows that failed
    before and nothing else, or of these the ones that failed for one of ``retry_reasons``. ``license`` is
    of the source's pictures where they have none of their own, ``caption_license`` of its texts. ``redistribute`` says what of the
    pictures may be passed on: their bytes, their URLs, or nothing. ``nsfw`` scores each new picture. ``keep_archives`` keeps archives
    that were downloaded, which otherwise go once their pictures are in the lake.
    """

    source: Text
    inputs: list[Text] = Field(default_factory=list)
    archives: list[Text] = Field(default_factory=list)
    subset: Text | None = None
    collection: Text | None = None
    limit: Annotated[int, Field(strict=True, gt=0, le=1_000_000_000)] | None = None
    allow_private_hosts: StrictBool = False
    retry_failed: StrictBool = False
    retry_reasons: list[FailureReason] = Field(default_factory=list)
    nsfw: StrictBool = False
    keep_archives: StrictBool = False
    license: Text | None = None
    license_url: Text | None = None
    caption_license: Text | None = None
    redistribute: Literal["bytes", "urls", "none"] | None = None
    title: Text | None = None
    homepage: Text | None = None
    citation: Text | None = None
    author: Text | None = None
    fetch: FetchPolicy = Field(default_factory=FetchPolicy)

    @model_validator(mode="after")
    def _reasons_are_for_a_retry(self) -> Self:
        if self.retry_reasons and not self.retry_failed:
            raise ValueError(
                "retry_reasons without retry_failed: add retry_failed (on the command line --retry-failed)"
            )
        return self
