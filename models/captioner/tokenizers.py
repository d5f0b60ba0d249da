"""Tokenizers of captioners that start from nothing, and making a tokenizer fit for pictures."""

from collections.abc import Iterable
from typing import Any

from captionlake.errors import CaptionlakeError

IMAGE, PAD, BEGIN, END = "<image>", "<pad>", "<s>", "</s>"


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Any:
    """A byte-level BPE over ``texts``: every text comes back from it as it was. At least 260 tokens: 256 bytes, 4 marks."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    marks = [PAD, BEGIN, END, IMAGE]
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
        pad_token=PAD,
        bos_token=BEGIN,
        eos_token=END,
        additional_special_tokens=[IMAGE],
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def fit_for_pictures(tokenizer: Any) -> None:
    """``<image>`` and a padding token are in it, and it pads on the left, as generation asks."""
    if tokenizer.eos_token is None:
        raise CaptionlakeError(f"the tokenizer {tokenizer.name_or_path!r} has no end of text (eos_token): set one")
    if IMAGE not in tokenizer.get_vocab():
        tokenizer.add_tokens([IMAGE], special_tokens=True)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    tokenizer.padding_side = "left"


def check_tokens(tokenizer: Any, embeddings: int) -> None:
    """Each token has an embedding, or an error says how many lack one."""
    if len(tokenizer) > embeddings:
        raise CaptionlakeError(
            f"the tokenizer has {len(tokenizer)} tokens and the model {embeddings} embeddings: "
            "take the tokenizer that the checkpoint was saved with, or call resize_token_embeddings and train on"
        )
