"""The released Share-Captioner's checkpoint to a folder of ours."""

import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from captionlake.errors import CaptionlakeError
from captionlake.models.data.sample import IMAGE
from captionlake.models.shards import WeightWriter, keys_by_shard, read_shards
from captionlake.models.tokens import check_tokens, fit_for_pictures

from .building import generation_config, new_processor
from .configuration import ShareCaptionerConfig
from .model import ShareCaptionerForConditionalGeneration
from .released import Place, from_released, released_keys
from .sizes import config_of

_BY_TOKEN = {"language_model.model.embed_tokens.weight", "language_model.lm_head.weight"}


def convert(source: Path, target: Path, *, config: ShareCaptionerConfig | None = None) -> None:
    """Streams shard by shard, so that two shards' memory is enough. ``config``: that of ``full`` unless given.

    ``target`` appears whole or not at all. Values and their precision stay as they are.
    """
    config = config or config_of("full")
    if target.exists():
        raise CaptionlakeError(f"{target} exists: name a new folder")
    places = released_keys(config)
    shards = keys_by_shard(source)
    _check_keys(source, set().union(*shards.values()), places)
    tokenizer = read_tokenizer(source)
    _settle_tokens(tokenizer, config)
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with WeightWriter(partial) as writer:
        for key, tensor in from_released(read_shards(shards), places):
            writer.add(key, _with_rows(tensor, config.text_config.vocab_size) if key in _BY_TOKEN else tensor)
            config.dtype = tensor.dtype
    config.architectures = [ShareCaptionerForConditionalGeneration.__name__]
    config.save_pretrained(partial)
    generation_config(config, tokenizer).save_pretrained(partial)
    new_processor(config, tokenizer).save_pretrained(partial)
    partial.rename(target)


def _check_keys(source: Path, found: Collection[str], places: dict[str, Place]) -> None:
    unexpected, missing = sorted(set(found) - places.keys()), sorted(places.keys() - set(found))
    if unexpected or missing:
        said = [
            f"{len(keys)} {how} ({keys[0]})" for keys, how in ((missing, "missing"), (unexpected, "unexpected")) if keys
        ]
        raise CaptionlakeError(
            f"{source} is no Share-Captioner of this size: of its {len(found)} keys {', '.join(said)}"
        )


def read_tokenizer(source: Path) -> Any:
    """InternLM's tokenizer: its own class is code of the checkpoint, which is not run; Llama's reads the same file.

    Each text begins with ``<s>``, as the authors' prompts do.
    """
    from transformers import LlamaTokenizer

    if not any((source / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        raise CaptionlakeError(f"{source} has no tokenizer.model (nor tokenizer.json): download it beside the weights")
    try:
        return LlamaTokenizer.from_pretrained(source, local_files_only=True, add_bos_token=True)
    except Exception as error:
        raise CaptionlakeError(
            f"the tokenizer in {source} cannot be read ({error}): a tokenizer.model needs  pip install sentencepiece"
        ) from error


def _settle_tokens(tokenizer: Any, config: ShareCaptionerConfig) -> None:
    """``<image>`` takes a row of the embeddings that no token has, or there will be one row more."""
    text = config.text_config
    check_tokens(tokenizer, text.vocab_size)
    fit_for_pictures(tokenizer)
    text.vocab_size = max(text.vocab_size, len(tokenizer))
    config.image_token_id = tokenizer.convert_tokens_to_ids(IMAGE)
    text.bos_token_id, text.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id
    text.pad_token_id = tokenizer.pad_token_id


def _with_rows(table: Tensor, rows: int) -> Tensor:
    """(R, D) -> (rows, D), the new ones zero."""
    return table if len(table) == rows else torch.cat((table, table.new_zeros(rows - len(table), table.shape[1])))
