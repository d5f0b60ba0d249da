"""Masks, token by token, with tokenizers that melt what they can. The texts are hypothesis' own."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captionlake.errors import CaptionlakeError
from captionlake.models.lmm.encoding import IGNORED, Encoded, NothingToLearn, encode
from captionlake.models.lmm.templates import TEMPLATES, chat_template, template_of

from .toys import TOKENIZERS

_PAIRS = [
    (template, tokenizer)
    for template in TEMPLATES
    for tokenizer in TOKENIZERS
    if template != "chatml" or ("llama" not in tokenizer and "without_chat" not in tokenizer)
]
_SENTENCEPIECE = ("llama", "llama_legacy")
_PATCHES = 3

# What melts with a template's text or is a mark itself, among all that Unicode has. U+2581 is sentencepiece's space.
_ODD = st.sampled_from(
    ['"', " ", "\n", ":", "<", "</s>", "<TOKENS_UNUSED_1>", "<|im_end|>", "The", "ASSISTANT:", "1", "é", "  ", "?\n"]
)
_LETTERS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="▁"), max_size=8)
_answers = st.lists(_ODD | _LETTERS, max_size=6).map("".join)
_questions = _answers.filter(lambda text: not any(mark in text for mark in ("</s>", "<T", "<|")))
_words = st.text("abcdefghijklmnop .,?", min_size=1, max_size=20).map(lambda text: f"w{text.strip()}")


@st.composite
def _conversations(draw: st.DrawFn, questions: Any = _questions, answers: Any = _answers) -> list[tuple[str, str]]:
    turns: list[tuple[str, str]] = []
    for exchange in range(draw(st.integers(1, 3))):
        picture = "<image>\n" if draw(st.booleans()) or not exchange else ""
        turns += [("human", picture + draw(questions)), ("gpt", draw(answers))]
    return turns


def _encode(turns: list[tuple[str, str]], template: str, tokenizer: str, limit: int = 100_000) -> Encoded:
    kind = TOKENIZERS[tokenizer]
    return encode(
        turns,
        template_of(template),
        kind,
        image_tokens=_PATCHES,
        image_token_id=kind.convert_tokens_to_ids("<image>"),
        max_text_tokens=limit,
    )


@pytest.mark.parametrize(("template", "tokenizer"), _PAIRS)
@settings(max_examples=60, deadline=None)
@given(turns=_conversations())
def test_the_answers_and_their_ends_are_learned_and_nothing_else(
    template: str, tokenizer: str, turns: list[tuple[str, str]]
) -> None:
    encoded = _encode(turns, template, tokenizer)
    kind = TOKENIZERS[tokenizer]
    filled = template_of(template).of_tokenizer(kind)
    assert len(encoded.labels) == len(encoded.input_ids)
    assert all(label in (IGNORED, token) for token, label in zip(encoded.input_ids, encoded.labels, strict=True))
    learned = kind.decode([label for label in encoded.labels if label != IGNORED])
    said = "".join(filled.space + text + filled.end for speaker, text in turns if speaker == "gpt")
    # A decoder of sentencepiece takes the first space away.
    assert learned == (said.removeprefix(" ") if tokenizer in _SENTENCEPIECE else said)
    if tokenizer not in _SENTENCEPIECE:
        read = kind.decode(
            [token for token, label in zip(encoded.input_ids, encoded.labels, strict=True) if label == IGNORED]
        )
        asked = [text for speaker, text in turns if speaker == "human"]
        prompts = "".join(filled.prompt(text, first=not place) for place, text in enumerate(asked))
        assert read == prompts.replace("<image>", "<image>" * _PATCHES)


@pytest.mark.parametrize(("template", "tokenizer"), _PAIRS)
@settings(max_examples=40, deadline=None)
@given(turns=_conversations(), limit=st.integers(0, 120))
def test_a_limit_cuts_the_end_of_the_text_and_no_picture(
    template: str, tokenizer: str, turns: list[tuple[str, str]], limit: int
) -> None:
    whole = _encode(turns, template, tokenizer)
    picture = TOKENIZERS[tokenizer].convert_tokens_to_ids("<image>")
    try:
        cut = _encode(turns, template, tokenizer, limit)
    except NothingToLearn as error:
        assert f"limit of {limit} tokens" in str(error)
        return
    assert cut.input_ids.count(picture) == whole.input_ids.count(picture)
    text = [pair for pair in zip(cut.input_ids, cut.labels, strict=True) if pair[0] != picture]
    full = [pair for pair in zip(whole.input_ids, whole.labels, strict=True) if pair[0] != picture]
    assert text == full[: len(text)] and len(text) <= limit
    assert any(label != IGNORED for label in cut.labels)
    if len(text) < len(full):  # not more is cut than must be: each picture counts as one
        assert len(text) + cut.input_ids.count(picture) // _PATCHES >= limit


@pytest.mark.parametrize(("template", "tokenizer"), _PAIRS)
@settings(max_examples=30, deadline=None)
@given(turns=_conversations(_words, _words))
def test_training_reads_what_generation_reads(template: str, tokenizer: str, turns: list[tuple[str, str]]) -> None:
    """The tokens before each answer are those of the chat template, tokenized whole as the processor does it."""
    encoded = _encode(turns, template, tokenizer)
    kind = TOKENIZERS[tokenizer]
    starts = [
        place for place, label in enumerate(encoded.labels) if label != IGNORED and encoded.labels[place - 1] == IGNORED
    ]
    filled = template_of(template)
    # A picture and a caption is all that plain is for; without its regex a tokenizer melts earlier answers with prompts.
    if template == "plain" or tokenizer == "byte_level_without_regex":
        starts = starts[:1]
    for exchange, start in enumerate(starts):
        messages = [_message(speaker, text, filled.after_picture) for speaker, text in turns[: 2 * exchange + 1]]
        prompt = kind.apply_chat_template(
            messages, chat_template=chat_template(filled, kind), tokenize=False, add_generation_prompt=True
        )
        assert kind(prompt.replace("<image>", "<image>" * _PATCHES))["input_ids"] == encoded.input_ids[:start]


def _message(speaker: str, text: str, after_picture: str) -> dict[str, Any]:
    if speaker == "gpt":
        return {"role": "assistant", "content": text}
    # A record has the newline behind <image> in its text; where the template brings none, it stays there.
    picture, text = text.startswith("<image>"), text.removeprefix("<image>" + after_picture)
    return {"role": "user", "content": [{"type": "text", "text": text}, *[{"type": "image"}] * picture]}


def test_tokens_are_those_of_llavas_own_code() -> None:
    """LLaVA cuts a text at ``<image>`` and tokenizes each piece alone (``tokenizer_image_token`` of its ``mm_utils.py``)."""
    kind = TOKENIZERS["llama"]
    picture = kind.convert_tokens_to_ids("<image>")

    def theirs(text: str) -> list[int]:
        pieces = [kind(piece)["input_ids"] for piece in text.split("<image>")]
        ids: list[int] = pieces[0]
        for piece in pieces[1:]:
            ids = [*ids, picture, *piece[1:]]  # without the beginning of sequence
        return ids

    system = template_of("vicuna_v1").start
    asked, told = "<image>\nWhat is in the picture?", "The cat sits on a table."
    turns = [("human", asked), ("gpt", told)]
    encoded = encode(
        turns, template_of("vicuna_v1"), kind, image_tokens=1, image_token_id=picture, max_text_tokens=2048
    )
    assert encoded.input_ids == theirs(f"{system}USER: {asked} ASSISTANT: {told}</s>")
    plain = encode(turns, template_of("plain"), kind, image_tokens=1, image_token_id=picture, max_text_tokens=2048)
    assert plain.input_ids == theirs(f"<image>{told}\n")
    assert plain.labels == [IGNORED, IGNORED, *plain.input_ids[2:]]


def test_rows_that_do_not_take_turns() -> None:
    learned = _encode([("gpt", "before"), ("human", "so"), ("gpt", "yes"), ("human", "and")], "vicuna_v1", "byte_level")
    assert TOKENIZERS["byte_level"].decode([one for one in learned.labels if one != IGNORED]) == " yes</s>"
    with pytest.raises(CaptionlakeError, match="turn 2 is by 'human': human and gpt must take turns"):
        _encode([("human", "a"), ("human", "b"), ("gpt", "c")], "vicuna_v1", "byte_level")
    with pytest.raises(CaptionlakeError, match="turn 3 is by 'bard'"):
        _encode([("human", "a"), ("gpt", "b"), ("bard", "c")], "vicuna_v1", "byte_level")
    with pytest.raises(NothingToLearn):
        _encode([("human", "a")], "vicuna_v1", "byte_level")
    with pytest.raises(NothingToLearn):
        _encode([], "vicuna_v1", "byte_level")


def test_templates_that_cannot_be() -> None:
    with pytest.raises(
        CaptionlakeError, match="no template 'vicuna': there are plain, vicuna_v1, share_captioner, chatml"
    ):
        template_of("vicuna")
    with pytest.raises(CaptionlakeError, match=r"chatml needs the token <\|im_start\|>, which the tokenizer lacks"):
        _encode([("human", "a"), ("gpt", "b")], "chatml", "llama")


def test_a_system_message_of_ones_own() -> None:
    kind = TOKENIZERS["byte_level"]
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "So?"}]
    told = {
        name: kind.apply_chat_template(messages, chat_template=chat_template(template, kind), tokenize=False)
        for name, template in TEMPLATES.items()
    }
    assert told["vicuna_v1"] == "Be brief. USER: So?"
    assert told["chatml"] == "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nSo?"
