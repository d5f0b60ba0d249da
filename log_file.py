"""``--log-json FILE`` or ``CAPTIONLAKE_LOG``: what the program logs, as lines of JSON, with no secret in them.

Each line has ``time`` (UTC, ISO 8601), ``level``, ``logger``, ``message``, and the fields that the record brings (``extra={"fields": …}``),
as those of a recipe's steps. Secrets are the values of environment variables whose names say so, and passwords and keys within URLs.
"""

import json
import logging
import os
import re
import traceback
from datetime import UTC, datetime
from pathlib import Path

from captionlake.errors import CaptionlakeError

_SECRET_NAME = re.compile(r"(KEY|TOKEN|PASSWORD|PASSWD|SECRET|CREDENTIAL)S?$", re.IGNORECASE)
_IN_TEXT = (
    re.compile(r"(?<=://)[^/\s:@\"]*:[^/\s@\"]*(?=@)"),  # user:password@
    re.compile(
        r"(?<=[?&])((?:api[_-]?key|key|token|access_token|signature|sig|x-amz-[a-z-]+|password)=)[^&\s\"]+",
        re.IGNORECASE,
    ),
    re.compile(r"(\bBearer\s+)[\w.~+/=-]+", re.IGNORECASE),
    re.compile(r"\b(sk-|hf_)[\w-]{6,}"),
)
_SHORTEST = 6  # a shorter value would take words out of every text


def log_to(path: Path, level: int) -> None:
    """Append what is logged from now on to a file, line by line. Raises where it cannot be written."""
    try:
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise CaptionlakeError(f"{path} cannot be written ({error.strerror}): give --log-json another file") from error
    handler.setFormatter(JsonLines())
    handler.setLevel(level)
    logging.getLogger("captionlake").addHandler(handler)
    logging.getLogger("captionlake").setLevel(level)


def note_error(said: str, error: Exception | None) -> None:
    """What ended the program, for the file alone: the terminal is told by the command line. ``error``: where its traceback matters."""
    logger = logging.getLogger("captionlake")
    trace = (type(error), error, error.__traceback__) if error else None
    record = logger.makeRecord("captionlake.cli", logging.ERROR, __file__, 0, "%s", (said,), trace)
    for handler in logger.handlers:
        handler.handle(record)


class JsonLines(logging.Formatter):
    """One object a record."""

    def format(self, record: logging.LogRecord) -> str:
        """A line of JSON, without its end."""
        told = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "pid": record.process,
        }
        told |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[0] is not None:
            told["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        return json.dumps({key: _clean(value) for key, value in told.items()}, ensure_ascii=False, default=str)


def _clean(value: object) -> object:
    """A value with three stars in the place of secrets, however deep they lie."""
    if isinstance(value, dict):
        return {key: _clean(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(inner) for inner in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return without_secrets(str(value))


def without_secrets(text: str) -> str:
    """A text with three stars in the place of each secret."""
    named = (value for name, value in os.environ.items() if _SECRET_NAME.search(name) and len(value) >= _SHORTEST)
    for secret in sorted(named, key=len, reverse=True):
        text = text.replace(secret, "***")
    for pattern in _IN_TEXT:
        text = pattern.sub(lambda match: f"{match[1] if match.lastindex else ''}***", text)
    return text
