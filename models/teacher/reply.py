"""A reply of a chat-completions endpoint, read with distrust: a caption, or the reason why it is none."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from captionlake.models.teacher.outcome import NoCaption, Outcome, Reply, Usage

_NO_IMAGES = (
    "does not support image",
    "doesn't support image",
    "not support images",
    "no support for image",
    "only supported by certain models",
    "not a multimodal model",
    "not multimodal",
    "does not accept image",
    "image input is not supported",
    "image inputs are not supported",
    "image_url is not supported",
    "not a vision model",
    "not a vlm",
    "at most 0 image",
)
_BAD_PICTURE = ("invalid_image", "invalid image", "could not process image", "image_parse_error", "unsupported image")
_FILTERED = ("content_policy", "content_filter", "content management policy", "safety system")
_LONG = ("context_length_exceeded", "maximum context length", "context length", "longer than the maximum model length")


def read_reply(data: bytes) -> Reply:
    """The caption of a reply with status 200. Raises ``NoCaption`` where there is none."""
    try:
        told = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise NoCaption(Outcome.INVALID_REPLY, f"the reply is no JSON ({len(data):,} bytes)") from error
    return caption_of(told)


def caption_of(told: object) -> Reply:
    """As ``read_reply``, of the reply's JSON."""
    if not isinstance(told, Mapping):
        raise NoCaption(Outcome.INVALID_REPLY, "the reply is no JSON object")
    usage = _usage(told.get("usage"))
    if isinstance(told.get("error"), Mapping):  # some gateways send errors with status 200
        status = told["error"].get("code")
        raise problem(status if isinstance(status, int) else 500, told)
    try:
        choice = told["choices"][0]
        message = choice["message"]
        content = message.get("content")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise NoCaption(Outcome.INVALID_REPLY, "the reply has no choices[0].message", usage=usage) from error
    finish = choice.get("finish_reason") if isinstance(choice.get("finish_reason"), str) else None
    if finish == "content_filter":
        raise NoCaption(Outcome.CONTENT_FILTER, "the endpoint's filter withheld the reply", usage=usage)
    if not content and isinstance(message.get("refusal"), str) and message["refusal"]:
        raise NoCaption(Outcome.REFUSED, message["refusal"], usage=usage)
    if isinstance(content, list):
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    if not isinstance(content, str | None):
        raise NoCaption(Outcome.INVALID_REPLY, "message.content is no text", usage=usage)
    text = _plain(content or "")
    if not text:
        raise NoCaption(Outcome.EMPTY, f"an empty reply (finish_reason {finish})", usage=usage)
    named = [told.get("model"), told.get("system_fingerprint")]
    revision = "/".join(_plain(name) for name in named if isinstance(name, str) and name)
    return Reply(text, _plain(finish) if finish else None, revision or None, usage)


def problem(status: int, told: object, retry_after: float | None = None) -> NoCaption:
    """What an HTTP status other than 200 means; ``told`` is the reply's JSON or text."""
    error = told.get("error", told) if isinstance(told, Mapping) else told
    message, code = str(error or ""), ""
    if isinstance(error, Mapping):
        message = str(error.get("message") or error.get("detail") or error)
        code = " ".join(str(error.get(name) or "") for name in ("code", "type"))
    detail = f"HTTP {status}: {_plain(message)}"
    outcome = _outcome(status, f"{message} {code}".lower())
    return NoCaption(outcome, detail, retry_after=retry_after, overload=status in (503, 529))


def _outcome(status: int, said: str) -> Outcome:
    if status in (401, 403):
        return Outcome.UNAUTHORIZED
    if status == 402 or "insufficient_quota" in said:
        return Outcome.NO_CREDIT
    if status == 404:
        return Outcome.MODEL_NOT_FOUND
    if status == 429:
        return Outcome.RATE_LIMITED
    if status == 408:
        return Outcome.TIMEOUT
    for words, outcome in (
        (_NO_IMAGES, Outcome.NO_IMAGES),
        (_FILTERED, Outcome.CONTENT_FILTER),
        (_LONG, Outcome.CONTEXT_LENGTH),
        (_BAD_PICTURE, Outcome.BAD_PICTURE),
    ):
        if status < 500 and any(each in said for each in words):
            return outcome
    return Outcome.SERVER_ERROR if status >= 500 or status == 409 else Outcome.BAD_REQUEST


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that ``retry-after-ms`` or ``Retry-After`` (a number, or a date) ask to wait."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) * scale
        except ValueError:
            try:
                seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
            except (ValueError, TypeError):
                continue
        if seconds == seconds:  # no NaN
            return min(max(seconds, 0.0), 3600.0)
    return None


def _usage(told: object) -> Usage | None:
    if not isinstance(told, Mapping):
        return None
    found = [told.get(name) for name in ("prompt_tokens", "completion_tokens")]
    if all(isinstance(each, int) and not isinstance(each, bool) and 0 <= each < 2**40 for each in found):
        return Usage(*found)  # type: ignore[arg-type]
    return None


def _plain(text: Any) -> str:
    """Without NUL, which no table takes, and with half surrogates replaced."""
    return str(text).replace("\x00", "").encode("utf-8", "replace").decode("utf-8").strip()
