"""``TransformersEngine``: batches through ``generate``, with a KV cache, as large as memory allows.

B pictures of a batch, T tokens of the prompt with a picture's placeholders, N tokens that are written.
"""

import copy
import hashlib
import threading
from collections.abc import Hashable, Sequence
from typing import Any

import torch
from PIL import Image

from captionlake.errors import CaptionlakeError
from captionlake.models.memory import in_halves
from captionlake.models.running.engine import Ready, Written
from captionlake.models.running.generation import GenerationConfig
from captionlake.models.running.loading import Checkpoint


class TransformersEngine:
    """Asks ``question`` about every picture. The prompt is the same for all, so batches need no padding."""

    def __init__(self, checkpoint: Checkpoint, question: str, config: GenerationConfig) -> None:
        self._model = checkpoint.model
        self._processor = checkpoint.processor
        self._placement = checkpoint.placement
        self._config = config
        self._prompt = prompt_of(checkpoint.processor, question)
        self._threads = threading.local()  # a tokenizer is for one thread at a time
        self._settings = settings(checkpoint, config)
        self.batch_size = config.batch_size or (32 if checkpoint.placement.on_gpu else 8)

    def ready(self, picture: Image.Image) -> Ready:
        """The processor's tensors of one picture and the prompt, each with a first dimension that adds up over a batch."""
        if not hasattr(self._threads, "processor"):
            self._threads.processor = copy.deepcopy(self._processor)
        inputs = dict(self._threads.processor(images=picture, text=self._prompt, return_tensors="pt"))
        inputs.pop("attention_mask", None)  # nothing is padded
        shape: Hashable = tuple(sorted((name, tuple(tensor.shape)) for name, tensor in inputs.items()))
        return Ready(inputs, shape)

    def write(self, batch: Sequence[Ready]) -> list[Written]:
        """One batch; two halves of it where memory is short, and from then on."""
        advice = (
            f"there is no memory on {self._placement.device} for one picture at a time: lower --max-tokens, take --precision bf16, "
            "or a smaller model"
        )
        return in_halves(self, batch, self._written, things="pictures", advice=advice)

    @torch.inference_mode()
    def _written(self, batch: Sequence[Ready]) -> list[Written]:
        inputs = {name: torch.cat([one.inputs[name] for one in batch]) for name in batch[0].inputs}
        seed = hashlib.sha256(repr(self._config.seed).encode())
        if self._config.sampling == "authors":  # the same batch is sampled in the same way
            for tensor in inputs.values():
                seed.update(tensor.numpy().tobytes())
            torch.manual_seed(int.from_bytes(seed.digest()[:8], "big") >> 1)
        moved = {name: self._moved(tensor) for name, tensor in inputs.items()}
        ids = moved["input_ids"]  # (B, T)
        options: dict[str, Any] = {}
        if self._config.sampling == "authors":
            options["logits_processor"] = [_penalty(ids.shape[1])]
        output = self._model.generate(
            **moved, attention_mask=torch.ones_like(ids), generation_config=self._settings, **options
        )  # (B, T + N)
        ends = end_tokens(self._settings)
        return [self._one(tokens, ends, ids.shape[1]) for tokens in output[:, ids.shape[1] :].tolist()]

    def _moved(self, tensor: torch.Tensor) -> torch.Tensor:
        dtype = self._placement.dtype if tensor.is_floating_point() else tensor.dtype
        return tensor.to(self._placement.device, dtype)

    def _one(self, tokens: list[int], ends: set[int], prompt_tokens: int) -> Written:
        end = next((place for place, token in enumerate(tokens) if token in ends), None)
        kept = tokens if end is None else tokens[:end]
        text = plain(self._processor.tokenizer.decode(kept, skip_special_tokens=True))
        count, reason = (len(tokens), "length") if end is None else (end + 1, "stop")
        return Written(text, prompt_tokens, count, reason)


def prompt_of(processor: Any, question: str) -> str:
    """A picture and a question as the checkpoint's template puts them."""
    check_question(processor, question)
    content = [{"type": "image"}, {"type": "text", "text": question}]
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    return str(text)


def check_question(processor: Any, question: str) -> None:
    """Raises where words of the question would be taken for a picture."""
    if processor.image_token in question:
        raise CaptionlakeError(f"the question holds {processor.image_token}, which stands for a picture: leave it out")


def settings(checkpoint: Checkpoint, config: GenerationConfig) -> Any:
    """transformers' ``GenerationConfig``: the marks of the checkpoint's own, everything else from ``config``."""
    from transformers import GenerationConfig as Settings

    own, tokenizer = checkpoint.model.generation_config, checkpoint.processor.tokenizer
    end = own.eos_token_id if own.eos_token_id is not None else tokenizer.eos_token_id
    first_end = end[0] if isinstance(end, list) else end
    pad = next((one for one in (own.pad_token_id, tokenizer.pad_token_id, first_end) if one is not None), None)
    how: dict[str, Any] = {"do_sample": False, "num_beams": 1}
    if (
        config.sampling == "authors"
    ):  # ShareGPT4V, tools/share-cap_batch_infer.py; its penalty is _penalty, and 50 was transformers' default then
        how = {"do_sample": True, "num_beams": 3, "temperature": 1.0, "length_penalty": 1.0, "top_k": 50}
    return Settings(
        **how,
        max_new_tokens=config.most_tokens,
        bos_token_id=own.bos_token_id,
        eos_token_id=end,
        pad_token_id=pad,
        use_cache=True,
    )


def _penalty(prompt_tokens: int) -> Any:
    """1.5 on what was written. The authors' model got embeddings, so that the penalty did not see the prompt; here it must be told."""
    from transformers import RepetitionPenaltyLogitsProcessor

    return RepetitionPenaltyLogitsProcessor(1.5, prompt_ignore_length=prompt_tokens)


def end_tokens(settings: Any) -> set[int]:
    """The marks of an end."""
    found = settings.eos_token_id
    return set(found) if isinstance(found, list) else set() if found is None else {found}


def plain(text: str) -> str:
    """Without NUL, which no table takes."""
    return text.replace("\x00", "").strip()
