"""Encoders: precision, memory that runs out, and texts; with a tiny CLIP of RANDOM weights."""

import io
import logging
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from captionlake.curation.encoding import Encoding
from captionlake.curation.model import EmbedConfig, load_model
from captionlake.errors import CaptionlakeError
from captionlake.placement import place

RandomClip = Callable[..., Path]
NAME = "random-weights-vit"


def load(folder: Path, precision: Literal["fp32", "bf16"] = "fp32") -> Any:
    return load_model(EmbedConfig(model=NAME, pretrained=str(folder), device="cpu", precision=precision))


def encoded(encoder: Any, pictures: dict[str, bytes], **options: Any) -> tuple[list[str], Any]:
    with closing(Encoding(encoder, **options)) as encoding:
        batches = list(encoding.run(pictures.items()))
    return [name for ids, _ in batches for name in ids], np.concatenate([made for _, made in batches])


def test_texts_get_open_clips_own_vectors(random_clip: RandomClip) -> None:
    import open_clip
    import torch

    texts = ["a cat on a mat", "ein Bild", ""]
    found = load(random_clip()).text_vectors(texts)
    network, _ = open_clip.create_model_from_pretrained(f"local-dir:{random_clip()}")
    tokens = open_clip.get_tokenizer(f"local-dir:{random_clip()}")(texts)
    with torch.inference_mode():
        expected = network.eval().encode_text(tokens, normalize=True).numpy()
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 1e-5
    assert np.abs(np.linalg.norm(found, axis=1) - 1).max() < 1e-6


def test_a_broken_tokenizer_is_one_line(random_clip: RandomClip) -> None:
    encoder = load(random_clip())
    encoder.network.token_embedding = type(encoder.network.token_embedding)(4, 32)  # knows four tokens
    with pytest.raises(CaptionlakeError, match=rf"{NAME}.* made no vectors of 1 texts .*text_cfg") as caught:
        encoder.text_vectors(["a cat"])
    assert "\n" not in str(caught.value)


def test_bf16_has_an_id_of_its_own_and_nearly_the_same_vectors(
    random_clip: RandomClip, photographs: dict[str, bytes]
) -> None:
    plain, half = load(random_clip()), load(random_clip(), "bf16")
    assert half.model_id == f"{plain.model_id}:bf16"
    (ids, one), (same_ids, two) = encoded(plain, photographs), encoded(half, photographs)
    assert ids == same_ids == list(photographs)
    assert two.dtype == np.float32
    assert np.abs(np.linalg.norm(two.astype(np.float64), axis=1) - 1).max() < 1e-6
    cosines = (one * two).sum(axis=1)
    assert cosines.min() > 0.999
    assert cosines.min() < 1 - 1e-7  # it did compute in another precision


def test_auto_takes_bf16_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    for has, expected in [
        ({"avx512_bf16": True}, "bf16"),
        ({"amx_bf16": True}, "bf16"),
        ({"avx2": True, "avx512_bf16": False}, "fp32"),
    ]:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda has=has: has)
        assert place("cpu", "auto").precision == expected
        assert place("cpu", "fp32").precision == "fp32"
        assert place("cpu", "bf16").precision == "bf16"
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert place("cpu", "auto").precision == "fp32"


@pytest.mark.parametrize("device", ["gpu", "cuda:x"])
def test_a_device_that_torch_does_not_know_is_named(device: str) -> None:
    with pytest.raises(CaptionlakeError, match=f"device = '{device}'"):
        place(device, "auto")


class Cramped:
    """A real encoder that has memory for so many pictures at a time, and says so as torch does."""

    def __init__(self, encoder: Any, room: int) -> None:
        self.model_id, self.batch_size, self.batches_at_once = encoder.model_id, 8, 1
        self.prepare, self.text_vectors = encoder.prepare, encoder.text_vectors
        self._encoder, self._room = encoder, room
        self.sizes: list[int] = []

    def vectors(self, pictures: Any) -> Any:
        self.sizes.append(len(pictures))
        if len(pictures) > self._room:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
        return self._encoder.vectors(pictures)


def test_a_batch_is_halved_where_memory_runs_out(
    random_clip: RandomClip, photographs: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    encoder = load(random_clip())
    cramped = Cramped(encoder, room=3)
    with caplog.at_level(logging.WARNING):
        ids, found = encoded(cramped, photographs)
    assert ids == list(photographs)
    assert np.abs(found - encoded(encoder, photographs)[1]).max() < 1e-5
    assert cramped.sizes[:4] == [8, 4, 2, 2]
    assert max(cramped.sizes[3:]) == 2
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == [
        "memory ran out with 8 pictures at a time: going on with 4",
        "memory ran out with 4 pictures at a time: going on with 2",
    ]


def test_no_memory_for_one_picture_is_an_error(random_clip: RandomClip, photographs: dict[str, bytes]) -> None:
    with pytest.raises(CaptionlakeError, match="memory runs out with a batch of one picture"):
        encoded(Cramped(load(random_clip()), room=0), photographs)


def test_another_error_of_the_model_goes_through(random_clip: RandomClip) -> None:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (40, 40), "red").save(buffer, "PNG")
    encoder = load(random_clip())
    encoder.network.visual.conv1 = None
    with pytest.raises(TypeError):
        encoded(encoder, {"red": buffer.getvalue()})
