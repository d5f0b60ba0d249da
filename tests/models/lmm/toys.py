"""Tokenizers of three families, trained in a moment on this repository's own prose, so that they merge across what they can."""

from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import LlamaTokenizer, PreTrainedTokenizerFast

from captionlake.models.lmm.templates import INTERNLM_MARKS

_MARKS = ["<unk>", "<s>", "</s>", "<image>"]
_CHAT = ["<|im_start|>", "<|im_end|>", *INTERNLM_MARKS]


@cache
def _prose() -> list[str]:
    texts = [path.read_text() for path in sorted(Path(__file__).parents[3].glob("docs/*.md"))[:4]]
    # Merges over a template's boundaries: `:"`, `: The`, a newline with what follows.
    return texts + [
        f'<|Bot|>:"{word}" USER: {word} ASSISTANT: {word}\n\n "' for word in ("The", "A", "In") for _ in range(99)
    ]


def byte_level(*, regex: bool = True, chat: bool = True) -> Any:
    """As GPT-2 and SmolLM2; ``regex=False`` merges whatever stands side by side."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=regex)
    bpe.decoder = decoders.ByteLevel()
    marks = _MARKS + (_CHAT if chat else [])
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=marks, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    bpe.train_from_iterator(_prose(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token="</s>", pad_token="<unk>", additional_special_tokens=marks[3:]
    )


def _sentencepiece() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges as a Llama tokenizer's: ``▁`` for spaces, a token for each byte."""
    bpe = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    bpe.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    marks = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    alphabet = [chr(code) for code in range(33, 127)]
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=marks, initial_alphabet=alphabet, limit_alphabet=100, show_progress=False
    )
    bpe.train_from_iterator([text.replace("\n", " ") for text in _prose()], trainer)
    import json

    model = json.loads(bpe.to_str())["model"]
    return model["vocab"], [tuple(pair) for pair in model["merges"]]


def llama(*, legacy: bool = False, pictures: bool = True) -> Any:
    """As Vicuna's; ``legacy=True`` sets a space before every text behind a mark, as tokenizers of Llama 1 and 2 once did."""
    vocab, merges = _sentencepiece()
    if not legacy:
        tokenizer = LlamaTokenizer(vocab=vocab, merges=merges, add_bos_token=True)
        if pictures:
            tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
        return tokenizer
    bpe = Tokenizer(models.BPE(vocab=vocab, merges=merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    bpe.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    bpe.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", left=1)]
    )
    bpe.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<image>"],
    )


TOKENIZERS: dict[str, Any] = {
    "byte_level": byte_level(),
    "byte_level_without_chat": byte_level(chat=False),
    "byte_level_without_regex": byte_level(regex=False),
    "llama": llama(),
    "llama_legacy": llama(legacy=True),
}
