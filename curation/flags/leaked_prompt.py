"""``leaked_prompt``: the text says what it was asked, or holds what only a chat template has."""

import re
from functools import lru_cache

from captionlake.curation.flags.flag import Caption, Finding, Flag, Span
from captionlake.curation.flags.text import WORD, sentences, shown, unquoted, words

VERSION = 1
SHARED_WORDS = 8  # in a row
NEAR = 90.0  # rapidfuzz's partial ratio of one of the prompt's sentences, 0 to 100
_SENTENCE_CHARACTERS = (25, 400)  # of a prompt's sentence that is looked for by likeness
_TOKENS = re.compile(
    r"<\|[^|<>\n]{1,40}\|>|\[/?INST\]|<</?SYS>>|</?s>|<(?:bos|eos|eoh|eoa|pad|unk|image|img|video|ImageHere|start_of_turn|end_of_turn|im_start|im_end)>"
    r"|</(?:image|img)>|#{2,3} ?(?:Human|Assistant|Instruction|Response|User|System|Input)\b:?"
)
_OPENING = re.compile(r"[<\[#]")
_ROLES = re.compile(r"\b(?:USER|ASSISTANT|SYSTEM|HUMAN|GPT|BOT) ?:|(?:^|\n)\s*(?:User|Assistant|Human|System|Bot) ?:")


def leaked_prompt(caption: Caption) -> Finding | None:
    """A template's token, a speaker's name outside quotations, or the prompt's own words where the prompt is known."""
    text = caption.text
    tokens = [found.span() for found in _TOKENS.finditer(text)] if _OPENING.search(text) else []
    if ":" in text:
        tokens += [found.span() for found in _ROLES.finditer(unquoted(text))]
    if tokens:
        names = dict.fromkeys(text[start:end].strip() for start, end in sorted(tokens))
        return Finding(flag=Flag.LEAKED_PROMPT, detail=f"has {shown(', '.join(names))}", spans=tuple(sorted(tokens)))
    return None if caption.prompt is None else _said_again(text, _prompt(caption.prompt))


class _Prompt:
    def __init__(self, text: str) -> None:
        said = words(text)
        self.grams = frozenset(zip(*(said[at:] for at in range(SHARED_WORDS)), strict=False))
        self.sentences = []
        for sentence in dict.fromkeys(text[start:end].strip().lower() for start, end in sentences(text)):
            parts = words(sentence)
            if _SENTENCE_CHARACTERS[0] <= len(sentence) <= _SENTENCE_CHARACTERS[1]:
                self.sentences.append((sentence, frozenset(zip(parts, parts[1:], parts[2:], strict=False))))
        self.short = frozenset(gram for _, grams in self.sentences for gram in grams)


@lru_cache(maxsize=256)
def _prompt(text: str) -> _Prompt:
    return _Prompt(text)


def _said_again(text: str, prompt: _Prompt) -> Finding | None:
    said = words(text)
    grams = list(zip(*(said[at:] for at in range(SHARED_WORDS)), strict=False))
    if not prompt.grams.isdisjoint(grams):
        return _own_words(text, [at for at, gram in enumerate(grams) if gram in prompt.grams])
    mine = prompt.short.intersection(zip(said, said[1:], said[2:], strict=False))
    return _alike(text, prompt, mine) if mine else None


def _own_words(text: str, starts: list[int]) -> Finding:
    places = [found.span() for found in WORD.finditer(text)]
    spans: list[Span] = []
    for at in starts:
        start, end = places[at][0], places[at + SHARED_WORDS - 1][1]
        spans = [*spans[:-1], (spans[-1][0], end)] if spans and start <= spans[-1][1] else [*spans, (start, end)]
    said_first = shown(text[spans[0][0] : spans[0][1]])
    return Finding(flag=Flag.LEAKED_PROMPT, detail=f"the prompt's own words: {said_first}", spans=tuple(spans))


def _alike(text: str, prompt: _Prompt, shared: frozenset[tuple[str, ...]]) -> Finding | None:
    """A sentence of the prompt with a few characters changed; asked only of those that share three words in a row with the text."""
    from rapidfuzz.fuzz import partial_ratio_alignment

    lower = text.lower()
    if len(lower) != len(text):  # a rare letter whose small form is longer
        lower = text
    for sentence, grams in prompt.sentences:
        if grams.isdisjoint(shared) or len(sentence) > len(lower) + 10:
            continue
        near = partial_ratio_alignment(sentence, lower, score_cutoff=NEAR)
        if near is not None:
            span = (near.dest_start, near.dest_end)
            detail = f"{near.score:.0f} % alike to the prompt's: {shown(text[span[0] : span[1]])}"
            return Finding(flag=Flag.LEAKED_PROMPT, detail=detail, spans=(span,))
    return None
