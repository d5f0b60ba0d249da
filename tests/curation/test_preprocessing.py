"""Pictures as a model's input: what Pillow and open_clip make of them, within the tolerances stated."""

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captionlake.curation.preprocessing import DRAFT_COSINE, MAX_LEVELS, MEAN_LEVELS, Preprocessing

DEMO = Path(__file__).parents[2] / "recipes" / "demo"


def jpeg(image: Any, quality: int = 90) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def settings(**changes: Any) -> Any:
    import open_clip

    return open_clip.transform.PreprocessCfg(**changes)


def open_clips_own(config: Any, data: bytes) -> Any:
    """As open_clip prepares a picture, brought back to levels of 0 to 255: (H, W, 3)."""
    import open_clip
    import torch
    from PIL import Image

    made = open_clip.transform.image_transform_v2(config, is_train=False)(Image.open(io.BytesIO(data)).convert("RGB"))
    return (made.permute(1, 2, 0) * torch.tensor(config.std) + torch.tensor(config.mean)) * 255


@pytest.fixture(scope="module")
def pictures() -> list[Any]:
    """Photographs that scikit-image ships, of several shapes, in RGB."""
    import skimage.data
    from PIL import Image

    whole = [
        Image.fromarray(getattr(skimage.data, name)()).convert("RGB") for name in ("astronaut", "rocket", "coffee")
    ]
    return [*whole, whole[1].crop((100, 0, 233, 427)), whole[2].crop((0, 0, 333, 100)), whole[0].resize((96, 224))]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"size": (64, 64), "interpolation": "bilinear"},
        {"size": (336, 336)},
        {"resize_mode": "squash"},
        {"resize_mode": "squash", "size": (96, 160)},
        {"resize_mode": "longest", "fill_color": 7},
        {"size": (96, 160)},
    ],
)
def test_the_samples_are_open_clips(pictures: list[Any], changes: dict[str, Any]) -> None:
    config = settings(**changes)
    prepare = Preprocessing(config, draft=False)
    for picture in pictures:
        data = jpeg(picture)
        expected, found = open_clips_own(config, data), prepare(data)
        assert found.shape == expected.shape
        apart = (found.float() - expected).abs()
        assert apart.max() <= MAX_LEVELS + 1e-3
        assert apart.mean() <= MEAN_LEVELS


def test_each_setting_is_in_the_name() -> None:
    others: list[dict[str, Any]] = [{}, {"mean": (0.5, 0.5, 0.5)}, {"size": 336}, {"resize_mode": "squash"}]
    names = [Preprocessing(settings(**changes)).name for changes in others]
    names.append(Preprocessing(settings(), draft=False).name)
    assert len(set(names)) == len(names)


def test_only_large_jpegs_are_decoded_reduced(pictures: list[Any]) -> None:
    large = pictures[0].resize((1024, 1024))
    draft, whole = (Preprocessing(settings(), draft=way) for way in (True, False))
    assert (draft(jpeg(large)) != whole(jpeg(large))).any()
    just_under = pictures[0].resize((895, 895))
    assert (draft(jpeg(just_under)) == whole(jpeg(just_under))).all()
    png = io.BytesIO()
    large.save(png, "PNG")
    assert (draft(png.getvalue()) == whole(png.getvalue())).all()


@pytest.fixture(scope="module")
def trained_tower(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], tuple[Any, Any]]:
    """EfficientNet-Lite0 with ImageNet weights as an open_clip model of the input size named, and its preprocessing."""
    import open_clip

    sys.path.insert(0, str(DEMO))
    try:
        import model as demo
    finally:
        sys.path.remove(str(DEMO))

    def tower(size: int) -> tuple[Any, Any]:
        folder = tmp_path_factory.mktemp("trained") / str(size)
        vision = demo.CONFIG["model_cfg"]["vision_cfg"]
        before = vision["image_size"]
        vision["image_size"] = size
        try:
            demo.write_model(folder)
        finally:
            vision["image_size"] = before
        network, _ = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
        return network.eval(), settings(**open_clip.get_model_preprocess_cfg(network))

    return tower


@pytest.mark.parametrize("size", [112, 224])
def test_a_reduced_decode_keeps_the_vector_of_a_photograph(
    pictures: list[Any], trained_tower: Callable[[int], tuple[Any, Any]], size: int
) -> None:
    import torch

    network, config = trained_tower(size)

    def vector(prepare: Preprocessing, data: bytes) -> Any:
        scaled = (prepare(data).float() / 255 - torch.tensor(config.mean)) / torch.tensor(config.std)
        with torch.inference_mode():
            return network.encode_image(scaled.permute(2, 0, 1)[None], normalize=True)[0]

    reduced = 0
    for picture in pictures[:3]:
        for side in (size * 4, size * 9):  # a half, and a quarter
            large = picture.resize(
                (side * picture.width // min(picture.size), side * picture.height // min(picture.size))
            )
            data = jpeg(large)
            draft, whole = Preprocessing(config), Preprocessing(config, draft=False)
            reduced += bool((draft(data) != whole(data)).any())
            assert float(vector(draft, data) @ vector(whole, data)) >= DRAFT_COSINE
    assert reduced == 6


def test_a_turned_picture_is_prepared_upright(pictures: list[Any]) -> None:
    from PIL import Image

    picture = pictures[1]
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    picture.transpose(Image.Transpose.ROTATE_90).save(buffer, "JPEG", quality=95, exif=exif)
    prepare = Preprocessing(settings(), draft=False)
    upright, turned = prepare(jpeg(picture, 95)).numpy(), prepare(buffer.getvalue()).numpy()
    assert np.abs(upright.astype(int) - turned.astype(int)).mean() < 2
