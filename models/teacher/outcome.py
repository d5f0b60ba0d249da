"""What can come of a request other than a caption, and what is to be done about it."""

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """The name under which a request that brought no caption is counted."""

    ENDPOINT_DOWN = "endpoint_down"
    UNAUTHORIZED = "unauthorized"
    NO_CREDIT = "no_credit"
    MODEL_NOT_FOUND = "model_not_found"
    NO_IMAGES = "no_images"  # the model does not take any
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    HALF_REPLY = "half_reply"
    INVALID_REPLY = "invalid_reply"
    EMPTY = "empty"
    CONTENT_FILTER = "content_filter"
    REFUSED = "refused"
    CONTEXT_LENGTH = "context_length"
    BAD_REQUEST = "bad_request"
    BAD_PICTURE = "bad_picture"
    EXPIRED = "expired"  # a batch's day was over


STOPS = {
    Outcome.ENDPOINT_DOWN,
    Outcome.UNAUTHORIZED,
    Outcome.NO_CREDIT,
    Outcome.MODEL_NOT_FOUND,
    Outcome.NO_IMAGES,
}  # no other row would fare better
AGAIN = {
    Outcome.ENDPOINT_DOWN,
    Outcome.RATE_LIMITED,
    Outcome.SERVER_ERROR,
    Outcome.TIMEOUT,
    Outcome.HALF_REPLY,
    Outcome.INVALID_REPLY,
    Outcome.EMPTY,
}  # another attempt may bring a caption
GIVEN_UP = set(Outcome) - STOPS - AGAIN - {Outcome.EXPIRED} | {Outcome.EMPTY}  # another run would fare no better
UNKNOWN_COST = {
    Outcome.TIMEOUT,
    Outcome.HALF_REPLY,
    Outcome.INVALID_REPLY,
}  # it may have been paid, nobody says how much


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that a reply says it took."""

    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Reply:
    """A caption as the endpoint gave it. ``revision``: the model and fingerprint that it names."""

    text: str
    finish_reason: str | None
    revision: str | None
    usage: Usage | None


class NoCaption(Exception):
    """A request that brought none. ``usage`` where the reply said what it took all the same; ``overload``: fewer requests
    at a time may help."""

    def __init__(
        self,
        outcome: Outcome,
        detail: str,
        *,
        retry_after: float | None = None,
        usage: Usage | None = None,
        overload: bool = False,
    ) -> None:
        super().__init__(f"{outcome}: {detail}")
        self.outcome = outcome
        self.detail = " ".join(detail.split())[:300]
        self.retry_after = retry_after
        self.usage = usage
        self.overload = overload or outcome in (Outcome.RATE_LIMITED, Outcome.TIMEOUT)
