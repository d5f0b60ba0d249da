"""A conversation's tokens, and which of them are learned: the answers with their end marks, and nothing else.

A token is on one side of an answer's beginning or on the other, because generation begins there as well: text and
answer are tokenized apart, and the answer as if it stood in the text. A tokenizer that would melt ``:`` and ``"``
into one token can therefore not shift the mask, nor can one that sets a space before every text.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from captionlake.errors import CaptionlakeError
from captionlake.models.lmm.templates import Template, token_id

IGNORED = -100  # the label without loss, as torch's cross entropy has it
# One of these stands apart from any text: the beginnings of words, numbers, punctuation and white space differ.
_ANCHORS = ("\n", "a", "1", ".")


class NothingToLearn(CaptionlakeError):
    """No token of an answer is left below the limit."""


class UnevenTurns(CaptionlakeError):
    """Human and assistant do not take turns."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids with pictures expanded, and labels of the same length."""

    input_ids: list[int]
    labels: list[int]


def encode(
    turns: Sequence[tuple[str, str]],
    template: Template,
    tokenizer: Any,
    *,
    image_tokens: int,
    image_token_id: int,
    max_text_tokens: int,
) -> Encoded:
    """Tokens of ``turns``; each picture is ``image_tokens`` placeholders.

    ``max_text_tokens`` counts a picture as one, as LLaVA's 2,048 does. What is over goes from the end of the text;
    placeholders stay, so that they agree with the pictures.
    """
    template = template.of_tokenizer(tokenizer)
    ids: list[int] = []
    learned: list[bool] = []
    for prompt, answer in _exchanges(turns):
        text = template.prompt(prompt, first=not ids)
        read = _continued(tokenizer, text, [template.end], special=True) if ids else tokenizer(text)["input_ids"]
        ids += read
        learned += [False] * len(read)
        if answer is not None:
            said = _answer(tokenizer, template, answer)
            ids += said
            learned += [True] * len(said)
    if not any(learned[:max_text_tokens]):
        raise NothingToLearn(
            f"no token of an answer lies within the limit of {max_text_tokens:,} tokens of text: raise max_length"
        )
    result = Encoded([], [])
    for place, (token, is_learned) in enumerate(zip(ids, learned, strict=True)):
        if token == image_token_id:
            result.input_ids.extend([token] * image_tokens)
            result.labels.extend([IGNORED] * image_tokens)
        elif place < max_text_tokens:
            result.input_ids.append(token)
            result.labels.append(token if is_learned else IGNORED)
    return result


def _exchanges(turns: Sequence[tuple[str, str]]) -> Iterable[tuple[str, str | None]]:
    """(text, answer) in turn. Answers before the first question are left out, as LLaVA does."""
    first = next((place for place, (speaker, _) in enumerate(turns) if speaker == "human"), len(turns))
    turns = turns[first:]
    for place, (speaker, text) in enumerate(turns):
        if speaker != ("gpt" if place % 2 else "human"):
            raise UnevenTurns(f"turn {first + place + 1} is by {speaker!r}: human and gpt must take turns")
        if not place % 2:
            yield text, turns[place + 1][1] if place + 1 < len(turns) else None


def token_ids(tokenizer: Any, text: str) -> list[int]:
    """Of a text that stands behind another: a mark is one token, other text is as many as it takes."""
    mark = token_id(tokenizer, text)
    return [mark] if mark is not None else _continued(tokenizer, text, _ANCHORS, special=False)


def _answer(tokenizer: Any, template: Template, answer: str) -> list[int]:
    mark = token_id(tokenizer, template.end)
    text = template.space + answer + (template.end if mark is None else "")
    return _continued(tokenizer, text, [template.answer, *_ANCHORS], special=False) + ([] if mark is None else [mark])


def _continued(tokenizer: Any, text: str, anchors: Sequence[str], *, special: bool) -> list[int]:
    """The tokens of ``text`` behind another text: behind the first anchor whose tokens it leaves alone.

    ``special=False``: marks such as ``</s>`` in the text are letters, not marks.
    """
    for anchor in filter(None, anchors):
        before, both = (
            tokenizer(one, add_special_tokens=False, split_special_tokens=not special)["input_ids"]
            for one in (anchor, anchor + text)
        )
        if both[: len(before)] == before:
            return list(both[len(before) :])
    raise CaptionlakeError(
        f"the tokenizer {type(tokenizer).__name__} melts {text[:20]!r} with whatever stands before it"
    )
