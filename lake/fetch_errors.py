"""Why a picture could not be fetched, in the closed set of reasons.

What a server answers, and the reason recorded:

====================================  ==============================================================
404, 410                              ``not_found``
400, 414                              ``bad_url``: the server cannot make sense of the address
408                                   ``timeout``
429                                   ``rate_limited``
other 4xx (401, 403, 451, 405, ...)   ``forbidden``: this picture is not for us, asked the way we ask
5xx, 304, 3xx without a ``Location``  ``server_error``: no answer to a plain GET
====================================  ==============================================================
"""

import email.utils
import http.client
import re
import time
import urllib.error
from email.message import Message

from captionlake.lake.reasons import FailureReason

DETAIL = 200  # characters of a detail that are kept


class FetchError(Exception):
    """A picture that was not fetched; ``again`` says whether another try may help, ``after`` how long to wait first."""

    status: int | None = None  # of a server that answered

    def __init__(self, reason: FailureReason, detail: str, *, again: bool = False, after: float | None = None) -> None:
        self.reason, self.detail, self.again, self.after = reason, one_line(detail), again, after
        super().__init__(f"{reason}|{self.detail}")


def one_line(text: str) -> str:
    """Printable, on one line, cut short, and without the credentials of any address in it."""
    text = re.sub(r"//[^/\s]*@", "//", text)
    return "".join(c if c.isprintable() else " " for c in text)[:DETAIL].strip()


def refusal(status: int, phrase: str, headers: Message) -> FetchError:
    error = _refusal(status, phrase, headers)
    error.status = status
    return error


def _refusal(status: int, phrase: str, headers: Message) -> FetchError:
    detail = f"HTTP {status} {phrase}"
    if status in (404, 410):
        return FetchError(FailureReason.NOT_FOUND, detail)
    if status in (400, 414):
        return FetchError(FailureReason.BAD_URL, detail)
    if status == 408:
        return FetchError(FailureReason.TIMEOUT, detail)
    if status == 429 or status == 503:
        reason = FailureReason.RATE_LIMITED if status == 429 else FailureReason.SERVER_ERROR
        return FetchError(reason, detail, again=True, after=retry_after(headers.get("Retry-After")))
    if 400 <= status < 500:
        return FetchError(FailureReason.FORBIDDEN, detail)
    return FetchError(FailureReason.SERVER_ERROR, detail)


def retry_after(value: str | None) -> float | None:
    """Seconds to wait by a ``Retry-After`` header (seconds, or a date), None where there is none that can be read."""
    if value is None:
        return None
    if re.fullmatch(r"\s*[0-9]{1,9}\s*", value):
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def explain(error: BaseException) -> FetchError:
    """Any error of opening or reading, in the closed set of reasons."""
    if isinstance(error, FetchError):
        return error
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException):
        return explain(error.reason)
    detail = f"{type(error).__name__}: {error}"
    if isinstance(error, TimeoutError):
        return FetchError(FailureReason.TIMEOUT, "the server fell silent")
    if isinstance(error, http.client.IncompleteRead):
        return FetchError(FailureReason.TRUNCATED, "the connection ended before the picture did", again=True)
    # A certificate that does not verify is a ValueError too, and an OSError.
    if isinstance(error, (http.client.InvalidURL, ValueError)) and not isinstance(error, OSError):
        return FetchError(FailureReason.BAD_URL, detail)
    return FetchError(FailureReason.CONNECTION, detail, again=isinstance(error, ConnectionError))
