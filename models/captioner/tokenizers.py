"""Tokenizers of captioners that start from nothing."""

from collections.abc import Iterable
from typing import Any

from captionlake.errors import CaptionlakeError
from captionlake.models.data.sample import IMAGE

_PAD, _BEGIN, _END = "<pad>", "<s>", "</s>"


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Any:
    """A byte-level BPE over ``texts``: every text comes back from it as it was. At least 260 tokens: 256 bytes, 4 marks."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    marks = [_PAD, _BEGIN, _END, IMAGE]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    smallest = len(alphabet) + len(marks)
    if vocab_size < smallest:
        raise CaptionlakeError(f"vocab_size = {vocab_size} is too small for bytes and marks: take {smallest} or more")
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=marks, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=_PAD,
        bos_token=_BEGIN,
        eos_token=_END,
        additional_special_tokens=[IMAGE],
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
