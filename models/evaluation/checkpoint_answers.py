"""``CheckpointAnswers``: a checkpoint's answers, greedy, in batches padded on the left.

B questions of a batch, T tokens of the longest with its picture's placeholders, N tokens that are written.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch

from captionlake.models.evaluation.answering import Question
from captionlake.models.memory import in_halves
from captionlake.models.running.generation import GenerationConfig
from captionlake.models.running.loading import Checkpoint
from captionlake.models.running.transformers_engine import end_tokens, plain, prompt_of, settings


class CheckpointAnswers:
    """``batch_size`` falls while it works, where memory is short."""

    def __init__(self, checkpoint: Checkpoint, batch_size: int | None = None) -> None:
        self._checkpoint = checkpoint
        self._processor = copy.deepcopy(checkpoint.processor)
        tokenizer = self._processor.tokenizer
        tokenizer.padding_side = "left"
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        self.batch_size = batch_size or (32 if checkpoint.placement.on_gpu else 8)

    def answer(self, questions: Sequence[Question], max_tokens: int) -> list[str]:
        """Two halves of the batch where memory is short, and from then on."""
        device = self._checkpoint.placement.device
        return in_halves(
            self,
            questions,
            lambda some: self._answered(some, max_tokens),
            things="questions",
            advice=f"there is no memory on {device} for one question: take --precision bf16, or a smaller model",
        )

    @torch.inference_mode()
    def _answered(self, questions: Sequence[Question], max_tokens: int) -> list[str]:
        how = settings(self._checkpoint, GenerationConfig(max_tokens=max_tokens))
        inputs = self._processor(
            images=[question.image for question in questions],
            text=[prompt_of(self._processor, question.text) for question in questions],
            padding=True,
            return_tensors="pt",
        )
        moved = {name: self._moved(tensor) for name, tensor in inputs.items()}
        output = self._checkpoint.model.generate(**moved, generation_config=how)  # (B, T + N)
        ends, start = end_tokens(how), moved["input_ids"].shape[1]
        return [self._text(tokens, ends) for tokens in output[:, start:].tolist()]

    def _text(self, tokens: list[int], ends: set[int]) -> str:
        end = next((place for place, token in enumerate(tokens) if token in ends), len(tokens))
        return plain(self._processor.tokenizer.decode(tokens[:end], skip_special_tokens=True))

    def _moved(self, tensor: Any) -> Any:
        placement = self._checkpoint.placement
        return tensor.to(placement.device, placement.dtype if tensor.is_floating_point() else tensor.dtype)
