"""``PromptSet``: the prompt of each row, always the same for the same row."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from captionlake.errors import CaptionlakeError
from captionlake.models.prompts.prompt_file import VARIABLE, Part, PromptFile, read_prompts
from captionlake.models.prompts.values import FENCE_SENTENCE, fence_of, fenced, row_values

_BETWEEN_SENTENCES = re.compile(r"(?<=[.!?])\s+")


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is asked about one row. ``sha256`` is of ``text``, so of every word that the model gets."""

    prompt_id: str
    text: str
    sha256: str


class PromptSet:
    """Prompts of one file, by a built-in name ("sharegpt4v") or a path."""

    def __init__(self, file: PromptFile) -> None:
        self.id = file.id
        self.version = file.version
        self.unified = file.unified
        self.parts = file.parts
        self._begin = _Template(file.base_begin)
        self._end = _Template(file.base_end)
        self._texts = {part.name: _Template(part.text) for part in file.parts}
        self._by_place: dict[tuple[str | None, str | None], Part] = {}
        for part in file.parts:
            for collection in part.collections or (None,):
                for subset in part.subsets or (None,):
                    self._by_place[collection, subset] = part
        self._constant: dict[str, Prompt] = {}  # by part, of rows without a value

    @classmethod
    def read(cls, name: str | Path) -> Self:
        """Raises ``PromptError`` with every problem of the file, or says that there is no such name."""
        return cls(read_prompts(name))

    def texts(self) -> dict[str, str]:
        """Each part's prompt by its id, with the variables in it as they stand in the file."""
        begin, end = self._begin.text, self._end.text
        return {
            f"{self.id}/{part.name}": "\n\n".join(text for text in (begin, part.text.strip(), end) if text)
            for part in self.parts
        }

    def part(self, collection: str, subset: str | None) -> Part:
        """The part for a row: its subset's, else its collection's, else the one for every other collection."""
        for place in ((collection, subset), (collection, None), (None, None)):
            if place in self._by_place:
                return self._by_place[place]
        raise CaptionlakeError(
            f"the prompts {self.id} have no part for {collection}{f' (subset {subset})' if subset else ''}: "
            "add one without `collections`, for every other collection"
        )

    def render(self, row: Mapping[str, Any]) -> Prompt:
        """The prompt of a row (columns ``collection, subset, meta, author``, and ``alt_text``, ``caption`` where there are any).

        A sentence with a variable that the row lacks is left out. Values stand in a fence (``values.py``), which a sentence at
        the beginning explains.
        """
        part = self.part(row["collection"], row.get("subset"))
        templates = (self._begin, self._texts[part.name], self._end)
        names = set().union(*(template.names for template in templates))
        values = row_values(row, names)
        if not values and part.name in self._constant:
            return self._constant[part.name]
        fence = fence_of(values)
        paragraphs = [text for template in templates if (text := template.fill(values, fence))]
        if any(fence in paragraph for paragraph in paragraphs):
            paragraphs.insert(1, FENCE_SENTENCE.format(fence=fence))
        text = "\n\n".join(paragraphs)
        prompt = Prompt(f"{self.id}/{part.name}", text, hashlib.sha256(text.encode()).hexdigest())
        if not values:
            self._constant[part.name] = prompt
        return prompt


class _Template:
    """A text cut into sentences, each with the variables in it."""

    def __init__(self, text: str) -> None:
        self.text = text.strip()
        self._sentences = [(s, VARIABLE.findall(s)) for s in _BETWEEN_SENTENCES.split(text.strip())]
        self.names = {name for _, names in self._sentences for name in names}

    def fill(self, values: Mapping[str, str], fence: str) -> str:
        return " ".join(
            VARIABLE.sub(lambda found: fenced(values[found[1]], fence), sentence) if names else sentence
            for sentence, names in self._sentences
            if all(name in values for name in names)
        )
