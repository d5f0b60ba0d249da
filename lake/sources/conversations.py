"""Rows of LLaVA's conversation form: ``{"id", "image", "conversations": [{"from": "human"|"gpt", "value"}]}``."""

from pathlib import Path
from typing import Any

from captionlake.errors import CaptionlakeError
from captionlake.lake.sources.json_items import text_of

_CHECK_EVERY = 1000


def answer(item: Any) -> tuple[str | None, str | None]:
    """(the one answer, None), or (None, why the row has none)."""
    if not isinstance(item, dict):
        return None, "not an object"
    turns = item.get("conversations")
    if not isinstance(turns, list):
        return None, "no conversations" if turns is None else "conversations is not a list"
    if len(turns) != 2:
        return None, f"{len(turns)} turns, not a question and an answer"
    turn = turns[1]
    if not isinstance(turn, dict) or turn.get("from") not in ("gpt", "assistant"):
        return None, "the second turn is not an answer"
    text = text_of(turn.get("value"))
    return text, None if text else "the answer is empty or not a text"


class CaptionsOnly:
    """Refuses a file of conversations: more than one row in ten without a picture or with more than two turns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows = 0
        self._others = 0
        self._next_check = _CHECK_EVERY

    def see(self, items: list[Any]) -> None:
        """Note some rows. Raises as soon as the file is known for conversations."""
        self._rows += len(items)
        for item in items:
            if isinstance(item, dict):
                turns = item.get("conversations")
                if isinstance(turns, list) and (len(turns) > 2 or item.get("image") is None):
                    self._others += 1
        if self._rows >= self._next_check:
            self._next_check = self._rows + _CHECK_EVERY
            self.end()

    def end(self) -> None:
        """As ``see``, for what is known at the end of the file."""
        if self._others * 10 > self._rows:
            raise CaptionlakeError(
                f"{self._path} holds conversations, not one caption an image ({self._others:,} of the first {self._rows:,} rows have "
                "several questions or no image): give a caption file, and keep this one for training mixes"
            )
