"""Resampling of position embeddings, against transformers' own, and the change of a model's resolution."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import AutoModelForImageTextToText, Blip2VisionConfig, Blip2VisionModel

from captionlake.errors import CaptionlakeError
from captionlake.models.captioner import load, resize_positions
from captionlake.models.captioner.positions import resample_grid, resample_positions, sine_cosine_grid

from .conftest import asked, inputs_of

Captioner = tuple[Any, Any]


@given(side=st.integers(1, 9), width=st.integers(1, 8), seed=st.integers(0, 2**16))
def test_at_native_size_nothing_changes(side: int, width: int, seed: int) -> None:
    positions = torch.randn(1, side * side + 1, width, generator=torch.Generator().manual_seed(seed))
    assert resample_positions(positions, side * side) is positions
    grid = positions[0, 1:]
    assert torch.equal(resample_grid(grid, side * side), grid)


@settings(deadline=None)
@given(old=st.integers(2, 12), new=st.integers(2, 12), seed=st.integers(0, 2**16))
def test_any_size_is_as_transformers_resamples_it_and_the_class_token_stays(old: int, new: int, seed: int) -> None:
    config = Blip2VisionConfig(
        hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, image_size=4 * old, patch_size=4
    )
    embeddings = Blip2VisionModel(config).embeddings
    positions = torch.randn(1, old * old + 1, 8, generator=torch.Generator().manual_seed(seed))
    embeddings.position_embedding.data = positions
    ours = resample_positions(positions, new * new)
    theirs = embeddings.interpolate_pos_encoding(torch.empty(1, new * new + 1, 8), 4 * new, 4 * new)
    assert torch.equal(ours[:, 0], positions[:, 0])
    torch.testing.assert_close(ours, theirs.detach())


def test_half_precision_is_resampled_in_full() -> None:
    grid = torch.randn(16, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert torch.equal(resample_grid(grid, 64), resample_grid(grid.float(), 64).bfloat16())


@given(side=st.integers(1, 16), quarter=st.integers(2, 8))
def test_sines_and_cosines_tell_all_places_apart(side: int, quarter: int) -> None:
    grid = sine_cosine_grid(side * side, 4 * quarter)
    torch.testing.assert_close(grid.square().sum(1), torch.full((side * side,), 2.0 * quarter))
    assert len({tuple(row) for row in grid.tolist()}) == side * side


def test_a_model_of_twice_the_resolution(captioner: Captioner, photos: list[Image.Image], tmp_path: Path) -> None:
    model, processor = captioner
    before = model.vision_tower.embeddings.position_embedding.detach().clone()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)

    resize_positions(model, 32)  # its own
    assert torch.equal(model.vision_tower.embeddings.position_embedding, before)

    doubled, its_processor = load(tmp_path, image_size=64)
    after = doubled.vision_tower.embeddings.position_embedding
    assert after.shape == (1, 65, 32) and after.requires_grad
    assert torch.equal(after[:, 0], before[:, 0])
    assert torch.equal(after, resample_positions(before, 64))
    inputs = inputs_of(its_processor, asked(photos[0]))
    assert inputs["pixel_values"].shape[-2:] == (64, 64)
    assert doubled.eval().generate(**inputs, max_new_tokens=3).shape[1] > inputs["input_ids"].shape[1]

    doubled.save_pretrained(tmp_path / "64")
    its_processor.save_pretrained(tmp_path / "64")
    again, processor_again = load(tmp_path / "64")
    assert torch.equal(again.vision_tower.embeddings.position_embedding, after)
    assert inputs_of(processor_again, asked(photos[0]))["pixel_values"].equal(inputs["pixel_values"])

    by_auto = AutoModelForImageTextToText.from_pretrained(tmp_path, image_size=64)
    assert torch.equal(by_auto.vision_tower.embeddings.position_embedding, after)
    with pytest.raises(
        CaptionlakeError, match="image_size = 50 is no multiple of the patches' 8 pixels: take 48 or 56"
    ):
        resize_positions(model, 50)
