"""Tokenizers trained on captions, and tokenizers that fit no model."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionlake.errors import CaptionlakeError
from captionlake.models.captioner import build, config_of, load, train_tokenizer

Captioner = tuple[Any, Any]
_TOKENIZER = train_tokenizer(["A red square on a blue ground."] * 3, 300)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_text_comes_back(text: str) -> None:
    ids = _TOKENIZER(text)["input_ids"]
    if not any(mark in text for mark in _TOKENIZER.all_special_tokens):
        assert _TOKENIZER.decode(ids) == text
        assert not set(ids) & set(_TOKENIZER.all_special_ids)


def test_a_vocabulary_smaller_than_bytes_and_marks_is_refused() -> None:
    with pytest.raises(CaptionlakeError, match="vocab_size = 100 is too small for bytes and marks: take 260 or more"):
        train_tokenizer(["a"], 100)
    assert len(train_tokenizer([], 260)) == 260


def test_a_tokenizer_larger_than_the_embeddings_is_refused(captioner: Captioner, tmp_path: Path) -> None:
    model, processor = captioner
    model.save_pretrained(tmp_path)
    processor.tokenizer.add_tokens([f"<more-{number}>" for number in range(600)])
    try:
        processor.save_pretrained(tmp_path)
    finally:
        processor.tokenizer = _TOKENIZER
    with pytest.raises(CaptionlakeError, match="the tokenizer has 1000 tokens and the model 448 embeddings"):
        load(tmp_path)


def test_a_tokenizer_without_an_end_is_refused(words: Any) -> None:
    endless = train_tokenizer(["a"], 300)
    endless.eos_token = None
    with pytest.raises(CaptionlakeError, match="no end of text"):
        build(config_of("tiny"), endless)
