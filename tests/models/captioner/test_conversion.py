"""The released checkpoint's form, there and back. Weights are random; the tokenizer is of Llama's kind, as InternLM's is."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from transformers import LlamaTokenizer

from captionlake.errors import CaptionlakeError
from captionlake.models.captioner import ShareCaptionerForConditionalGeneration, config_of, convert, load
from captionlake.models.captioner.conversion import read_tokenizer
from captionlake.models.captioner.released import released_bytes, released_keys, to_released

from ..lmm.toys import llama
from .conftest import PROSE, asked, inputs_of

_INDEX_TOTAL = 16_801_524_992  # total_size of the released checkpoint's index


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    marked = llama()
    marked.add_special_tokens({"additional_special_tokens": ["<TOKENS_UNUSED_0>", "<TOKENS_UNUSED_1>"]})
    return marked


def _config(tokenizer: Any, rows: int | None = None) -> Any:
    return config_of("tiny", text={"vocab_size": rows or len(tokenizer), "num_attention_heads": 2})


@pytest.fixture
def model(tokenizer: Any) -> Any:
    """Tiny, with biases that are not zero, the key's apart."""
    torch.manual_seed(0)
    made = ShareCaptionerForConditionalGeneration(_config(tokenizer)).eval()
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.1)
            if name.endswith("qkv.bias"):
                parameter[32:64] = 0
    return made


def _write(folder: Path, released: dict[str, Tensor], tokenizer: Any, *, kind: str = "bin", shards: int = 3) -> Path:
    """As the authors' folder: shards, an index, a tokenizer. A block's two biases lie in different shards."""
    folder.mkdir()
    tokenizer.save_pretrained(folder)
    keys = list(released)
    placed: dict[str, str] = {}
    for number in range(shards):
        part = {key: released[key].contiguous() for key in keys[number::shards]}
        if kind == "bin":
            name = f"pytorch_model-{number + 1:05d}-of-{shards:05d}.bin"
            torch.save(part, folder / name)
        else:
            name = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
            save_file(part, folder / name)
        placed |= dict.fromkeys(part, name)
    whole = "pytorch_model.bin" if kind == "bin" else "model.safetensors"
    (folder / f"{whole}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": placed}))
    return folder


def test_full_weighs_what_the_release_weighs() -> None:
    config = config_of("full")
    with torch.device("meta"):
        model = ShareCaptionerForConditionalGeneration(config).half()
    released = to_released(model.state_dict(), config)
    assert sum(value.numel() * value.element_size() for value in released.values()) == _INDEX_TOTAL
    assert released_bytes(config) == _INDEX_TOTAL
    assert {key: tuple(value.shape) for key, value in released.items()} == {
        key: place.shape for key, place in released_keys(config).items()
    }
    # Ours: zeros as bias of 39 blocks' keys on top, and without the frequencies of InternLM's 32 layers.
    ours = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    assert ours == _INDEX_TOTAL + 2 * (39 * 1408) - 2 * (32 * 64)


@pytest.mark.parametrize("kind", ["bin", "safetensors"])
def test_there_and_back(model: Any, tokenizer: Any, photos: list[Image.Image], tmp_path: Path, kind: str) -> None:
    source = _write(tmp_path / "released", to_released(model.state_dict(), model.config), tokenizer, kind=kind)
    convert(source, tmp_path / "ours", config=_config(tokenizer))
    again, processor = load(tmp_path / "ours")
    assert set(again.state_dict()) == set(model.state_dict())
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in again.state_dict().items())
    inputs = inputs_of(processor, asked(photos[0]), asked(photos[1], photos[2]))
    model.config.image_token_id = processor.image_token_id
    with torch.no_grad():
        assert torch.equal(again.eval()(**inputs).logits, model(**inputs).logits)
    back = to_released(again.state_dict(), again.config)
    assert all(torch.equal(value, to_released(model.state_dict(), model.config)[key]) for key, value in back.items())


def test_frequencies_of_the_release_are_the_ones_recomputed(model: Any) -> None:
    released = to_released(model.state_dict(), model.config)
    torch.testing.assert_close(
        released["internlm_model.model.layers.1.self_attn.rotary_emb.inv_freq"],
        model.language_model.model.rotary_emb.inv_freq,
    )


def test_precision_and_prompt_of_the_release_stay(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    released = to_released(model.half().state_dict(), model.config)
    convert(_write(tmp_path / "released", released, tokenizer), tmp_path / "ours", config=_config(tokenizer))
    again, processor = load(tmp_path / "ours")
    assert again.dtype == torch.float16
    ids = inputs_of(processor, asked(Image.new("RGB", (9, 9)), text="Analyze."))["input_ids"][0]
    assert processor.tokenizer.convert_ids_to_tokens(ids)[0] == "<s>"
    assert processor.tokenizer.decode(ids) == "<s> <|User|>:" + "<image>" * 6 + " Analyze.<TOKENS_UNUSED_0>\n<|Bot|>:"
    ends = processor.tokenizer.convert_tokens_to_ids(["</s>", "<TOKENS_UNUSED_1>"])
    assert again.generation_config.eos_token_id == sorted(ends)


def test_the_picture_s_token_takes_a_free_row_or_a_new_one(tokenizer: Any, tmp_path: Path) -> None:
    """The toys' vocabulary has one already; the release's has none."""
    vocabulary = {token: number for token, number in tokenizer.get_vocab().items() if number < 300}
    bare = LlamaTokenizer(vocab=vocabulary, merges=[], add_bos_token=True)
    assert "<image>" not in bare.get_vocab()
    for rows, expected in ((len(bare) + 4, len(bare) + 4), (len(bare), len(bare) + 1)):
        config = _config(bare, rows)
        released = to_released(ShareCaptionerForConditionalGeneration(config).state_dict(), config)
        source = _write(tmp_path / f"released-{rows}", released, bare)
        convert(source, tmp_path / f"ours-{rows}", config=_config(bare, rows))
        again, processor = load(tmp_path / f"ours-{rows}")
        assert again.get_input_embeddings().weight.shape[0] == expected == again.config.text_config.vocab_size
        assert len(again.get_parameter("language_model.lm_head.weight")) == expected
        assert processor.image_token_id == len(bare)
        assert torch.equal(
            again.get_input_embeddings().weight[:rows], released["internlm_model.model.embed_tokens.weight"]
        )


def test_a_sentencepiece_file_is_read_without_the_checkpoint_s_code(tmp_path: Path) -> None:
    import sentencepiece

    text = tmp_path / "prose.txt"
    text.write_text(PROSE.read_text())
    marks = ["<TOKENS_UNUSED_0>", "<TOKENS_UNUSED_1>"]
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(tmp_path / "tokenizer"), vocab_size=600, model_type="bpe", byte_fallback=True,
        user_defined_symbols=marks, minloglevel=9,
    )  # fmt: skip
    code = {"auto_map": {"AutoTokenizer": ["tokenization_internlm.InternLMTokenizer", None]}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(code | {"tokenizer_class": "InternLMTokenizer"}))
    ours = read_tokenizer(tmp_path)
    theirs = sentencepiece.SentencePieceProcessor(str(tmp_path / "tokenizer.model"))
    for prompt in ("<|User|>:", "Analyze the image in a comprehensive and detailed manner.<TOKENS_UNUSED_0>"):
        assert ours(prompt)["input_ids"] == [theirs.bos_id(), *theirs.encode(prompt)]


def test_what_is_no_released_captioner_is_refused(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    released = to_released(model.state_dict(), model.config)
    target = tmp_path / "ours"

    def refused(words: str, source: Path) -> None:
        with pytest.raises(CaptionlakeError, match=words) as error:
            convert(source, target, config=_config(tokenizer))
        assert "\n" not in str(error.value)
        assert not target.exists()

    whole = _write(tmp_path / "whole", released, tokenizer)
    (whole / "pytorch_model-00002-of-00003.bin").unlink()
    refused(r"lacks 1 of 3 shards \(pytorch_model-00002-of-00003.bin\): download them again", whole)

    (tmp_path / "empty").mkdir()
    refused("empty is no checkpoint: it holds neither model.safetensors nor pytorch_model.bin", tmp_path / "empty")

    less = {key: value for key, value in released.items() if not key.startswith("Qformer.ln_")}
    refused(
        r"no Share-Captioner of this size: .* 6 missing \(Qformer.ln_kv.bias\)",
        _write(tmp_path / "less", less, tokenizer),
    )

    more = released | {"ln_vision.weight": torch.ones(3)}
    refused(r"1 unexpected \(ln_vision.weight\)", _write(tmp_path / "more", more, tokenizer))

    wrong = released | {"Qformer.query": torch.ones(9, 32)}
    refused(
        r"Qformer.query has the shape \[9, 32\] and the model's is \[4, 32\]",
        _write(tmp_path / "wrong", wrong, tokenizer),
    )

    model.language_model.save_pretrained(tmp_path / "language")
    refused("no Share-Captioner of this size", tmp_path / "language")

    bare = _write(tmp_path / "bare", released, tokenizer)
    for file in (*bare.glob("tokenizer*"), *bare.glob("special_tokens*")):
        file.unlink()
    refused("has no tokenizer.model", bare)

    narrow = config_of("tiny", text={"vocab_size": 512})
    few = to_released(ShareCaptionerForConditionalGeneration(narrow).state_dict(), narrow)
    with pytest.raises(CaptionlakeError, match="the tokenizer has 903 tokens and the model 512 embeddings"):
        convert(_write(tmp_path / "few", few, tokenizer), target, config=narrow)

    target.mkdir()
    with pytest.raises(CaptionlakeError, match="ours exists: name a new folder"):
        convert(whole, target, config=_config(tokenizer))


class _Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return Path.touch, (self.mark,)


def test_nothing_is_unpickled_and_damage_is_told(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    released = to_released(model.state_dict(), model.config)
    armed = _write(tmp_path / "armed", released, tokenizer)
    shard = armed / "pytorch_model-00001-of-00003.bin"
    shard.write_bytes(pickle.dumps(_Bomb(tmp_path / "exploded")))
    with pytest.raises(CaptionlakeError, match="cannot be read as tensors"):
        convert(armed, tmp_path / "ours", config=_config(tokenizer))
    assert not (tmp_path / "exploded").exists()
    pickle.loads(shard.read_bytes())  # noqa: S301 - it would have
    assert (tmp_path / "exploded").exists()

    torch.save({"a": 1}, shard)
    with pytest.raises(CaptionlakeError, match="holds other things than tensors"):
        convert(armed, tmp_path / "ours", config=_config(tokenizer))
    torch.save({}, shard)
    with pytest.raises(CaptionlakeError, match=r"lacks .*, which the index places there"):
        convert(armed, tmp_path / "ours", config=_config(tokenizer))
    (armed / "pytorch_model.bin.index.json").write_text('{"weight_map": []}')
    with pytest.raises(CaptionlakeError, match="is no index of shards"):
        convert(armed, tmp_path / "ours", config=_config(tokenizer))
    assert not (tmp_path / "ours").exists()
