"""A captioner of tests' size, from random weights, learns three photographs by heart."""

from typing import Any

import torch
from PIL import Image

from captionlake.models.captioner import UNIFIED_PROMPT, build
from captionlake.models.lmm.encoding import encode
from captionlake.models.lmm.templates import template_of

from .conftest import asked, inputs_of

_CAPTIONS = ["A cat looks at you.", "A cup of coffee, a spoon beside it.", "An astronaut smiles."]


def test_it_says_what_it_was_taught_of_each_picture(words: Any, photos: list[Image.Image]) -> None:
    model, processor = build("tiny", words)
    rows = [
        encode(
            [("human", f"<image>{UNIFIED_PROMPT}"), ("gpt", caption)],
            template_of("share_captioner"),
            processor.tokenizer,
            image_tokens=processor.num_image_tokens,
            image_token_id=processor.image_token_id,
            max_text_tokens=512,
        )
        for caption in _CAPTIONS
    ]
    pixels = processor.image_processor(photos, return_tensors="pt")["pixel_values"]
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row.input_ids) for row in rows], batch_first=True)
    labels = [torch.tensor(row.labels) for row in rows]
    batch = {
        "input_ids": ids,
        "attention_mask": (ids != processor.tokenizer.pad_token_id).long(),
        "pixel_values": pixels,
        "labels": torch.nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=-100),
    }
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    model.train()
    for _ in range(100):
        optimizer.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
    assert loss < 0.05
    inputs = inputs_of(processor, *(asked(photo, text=UNIFIED_PROMPT) for photo in photos))
    said = model.eval().generate(**inputs)[:, inputs["input_ids"].shape[1] :]
    assert processor.batch_decode(said, skip_special_tokens=True) == _CAPTIONS
