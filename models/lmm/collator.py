"""Prepared samples to a batch.

B rows, T tokens of the longest, P pictures of all rows in their order, H and W pixels of the model's square.
"""

from collections.abc import Sequence
from typing import Any

import torch

from captionlake.models.lmm.building import image_tokens
from captionlake.models.lmm.encoding import IGNORED


class Collator:
    """``input_ids``, ``attention_mask`` and ``labels`` (B, T), padded on the right, and ``pixel_values`` (P, 3, H, W).

    Rows with and without pictures may be mixed; a batch of text alone has no ``pixel_values``. With ``always_picture`` it
    has a blank one, whose placeholders stand masked in the padding: the loss and its gradients are the same, and the
    gradients of tower and projector are zeros instead of missing. DDP and FSDP wait for them forever otherwise.
    With ``positions`` the batch says which rows of the release it holds (B,).
    """

    def __init__(self, processor: Any, *, always_picture: bool = False, positions: bool = False) -> None:
        tokenizer = processor.tokenizer
        self._padding = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        self._positions = positions
        self._blank: torch.Tensor | None = None
        if always_picture:
            from PIL import Image

            pixels = processor.image_processor(Image.new("RGB", (64, 64)), return_tensors="pt")["pixel_values"]
            self._blank = torch.zeros_like(pixels)
            self._placeholders = torch.full((image_tokens(processor),), processor.image_token_id)

    def __call__(self, samples: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        lengths = [len(sample["input_ids"]) for sample in samples]
        pictures = [sample["pixel_values"] for sample in samples if "pixel_values" in sample]
        blank = self._blank if not pictures else None
        shortest = min(lengths)
        width = max(lengths) if blank is None else max(max(lengths), shortest + len(self._placeholders))
        batch = {
            "input_ids": torch.full((len(samples), width), self._padding),
            "attention_mask": torch.zeros((len(samples), width), dtype=torch.long),
            "labels": torch.full((len(samples), width), IGNORED),
        }
        for row, (sample, length) in enumerate(zip(samples, lengths, strict=True)):
            batch["input_ids"][row, :length] = torch.tensor(sample["input_ids"])
            batch["attention_mask"][row, :length] = 1
            batch["labels"][row, :length] = torch.tensor(sample["labels"])
        if pictures:
            batch["pixel_values"] = torch.cat(pictures)
        elif blank is not None:
            row = lengths.index(shortest)
            batch["input_ids"][row, shortest : shortest + len(self._placeholders)] = self._placeholders
            batch["pixel_values"] = blank
        if self._positions:
            batch["positions"] = torch.tensor([sample["position"] for sample in samples])
        return batch
