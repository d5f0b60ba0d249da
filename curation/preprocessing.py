"""A stored picture as the input of an open_clip model, by torch's resampling of bytes in place of Pillow's.

A prepared picture is (H, W, 3) uint8; scaling by mean and standard deviation waits for the batch. The samples are those
of open_clip's own preprocessing but for rounding: at most ``MAX_LEVELS`` of 255 apart, ``MEAN_LEVELS`` on average.
A JPEG much larger than the input is decoded to a half, a quarter or an eighth of its sides, as long as they keep
``DRAFT_TIMES`` the input's: the one step that changes vectors (``DRAFT_COSINE``), and so part of the model's id.
"""

import hashlib
import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from captionlake.errors import require
from captionlake.lake.pictures import open_reduced, open_rgb

if TYPE_CHECKING:
    import torch
    from PIL import Image

MAX_LEVELS = 6  # where width and height shrink unequally; else 3
MEAN_LEVELS = 0.2
DRAFT_TIMES = 2
# Least cosine of a photograph's vectors with and without draft decoding, at inputs of 112 pixels and more.
DRAFT_COSINE = 0.997


class Preprocessing:
    """Of one open_clip model. ``name`` tells size, interpolation, resize mode, and a hash of all of it."""

    def __init__(self, settings: Any, *, draft: bool = True) -> None:
        """``settings`` is open_clip's PreprocessCfg."""
        transform = require("open_clip", extra="embed").transform
        self.mean, self.std = tuple(settings.mean), tuple(settings.std)
        height, width = settings.input_size[1:]
        self._size: tuple[int, int] = (height, width)
        self._mode = settings.resize_mode
        self._interpolation = "bilinear" if settings.interpolation == "bilinear" else "bicubic"
        self._least_side = DRAFT_TIMES * max(height, width) if draft else None
        by_bytes = self._mode == "squash" or (self._mode == "shortest" and height == width)
        # Padding and inputs that are not square go open_clip's own way, its scaling left out.
        plain = replace(settings, mean=(0.0,) * 3, std=(1.0,) * 3)
        self._whole = None if by_bytes else transform.image_transform_v2(plain, is_train=False)
        side = "x".join(str(n) for n in dict.fromkeys(self._size))
        what = {**asdict(settings), "resampling": "bytes", "draft": self._least_side}
        whole = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:8]
        self.name = f"{side}-{settings.interpolation}-{self._mode}-{whole}"

    def __call__(self, data: bytes) -> "torch.Tensor":
        """(H, W, 3) uint8."""
        if self._whole is None and self._least_side is not None:
            return self._resized(*open_reduced(data, self._least_side))
        image = open_rgb(data)
        if self._whole is None:
            return self._resized(image, image.size)
        found: torch.Tensor = (self._whole(image) * 255).round().byte().permute(1, 2, 0)
        return found

    def _resized(self, image: "Image.Image", whole: tuple[int, int]) -> "torch.Tensor":
        """``whole`` is the picture's width and height, of which ``image`` may be a reduced decode."""
        import numpy as np
        import torch

        height, width = self._size
        if self._mode == "shortest":  # the long side is cut to whole pixels, as torchvision's Resize does
            short, long = sorted(whole)
            length = height * long // short
            tall, wide = (height, length) if whole[0] > whole[1] else (length, width)
        else:
            tall, wide = height, width
        samples = torch.from_numpy(np.array(image)).permute(2, 0, 1).unsqueeze(0)  # (1, 3, H, W), rows of pixels
        if (tall, wide) != (image.height, image.width):
            samples = torch.nn.functional.interpolate(
                samples, size=(tall, wide), mode=self._interpolation, antialias=True, align_corners=False
            )
        top, left = round((tall - height) / 2), round((wide - width) / 2)
        return samples[0, :, top : top + height, left : left + width].permute(1, 2, 0)
