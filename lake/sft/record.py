"""A row of a conversation file: ``{"id", "image", "conversations": [{"from", "value"}, …]}`` and whatever other keys it has.

``image`` is a path, a list of paths, or not there. What is kept gives back the row as it was: ``turns`` is the list as JSON, and
``record`` the rest as JSON, with ``"conversations":null`` in it once, where the turns stood.
"""

import json
from dataclasses import dataclass
from typing import Any

MARK = '"conversations":null'
_ELSEWHERE = '"conversation\\u0073":null'  # the same to a JSON reader, where such a key lies deeper


@dataclass(frozen=True, slots=True)
class Record:
    """``record`` and ``turns`` are JSON without spaces; ``image_paths`` is empty for a row of text alone."""

    record: str
    turns: str
    image_paths: list[str]


class BadRecord(ValueError):
    """Why a row is no conversation: one of a few texts, so that they can be counted."""


def read_record(item: Any) -> Record:
    """The row as it is kept. Raises ``BadRecord``."""
    if not isinstance(item, dict):
        raise BadRecord("not an object")
    turns = item.get("conversations")
    if not isinstance(turns, list):
        raise BadRecord("no conversations" if turns is None else "conversations is not a list")
    if not turns:
        raise BadRecord("conversations is empty")
    for turn in turns:
        if not (isinstance(turn, dict) and isinstance(turn.get("from"), str) and isinstance(turn.get("value"), str)):
            raise BadRecord("a turn is not an object of the texts from and value")
    paths = _paths(item.get("image"))
    try:
        record, said = _rest(item), _json(turns)
        record.encode()
        said.encode()
    except UnicodeEncodeError as error:
        raise BadRecord("half of a surrogate pair in its text") from error
    except RecursionError as error:
        raise BadRecord("lists or objects too deep in one another") from error
    except ValueError as error:
        raise BadRecord("a number too large") from error
    return Record(record, said, paths)


def joined(record: str, turns: str) -> str:
    """The row as JSON again.

    >>> joined('{"id":"1","conversations":null}', '[{"from":"human","value":"Hello"}]')
    '{"id":"1","conversations":[{"from":"human","value":"Hello"}]}'
    """
    return record.replace(MARK, f'"conversations":{turns}')


def _paths(image: Any) -> list[str]:
    paths = [] if image is None else image if isinstance(image, list) else [image]
    if not all(isinstance(path, str) and path and "\0" not in path for path in paths):
        raise BadRecord("image is neither a path nor a list of paths")
    return paths


def _rest(item: dict[str, Any]) -> str:
    text = _json(item | {"conversations": None})
    if text.count(MARK) == 1:
        return text
    parts = [
        MARK if key == "conversations" else _json({key: value})[1:-1].replace(MARK, _ELSEWHERE)
        for key, value in item.items()
    ]
    return f"{{{','.join(parts)}}}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
