"""Position embeddings on square grids, and their resampling: bicubic, as EVA's and Qwen-VL's are.

N patches or queries on a grid of side S (N = S * S), D width.
"""

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from captionlake.errors import CaptionlakeError

if TYPE_CHECKING:
    from .model import ShareCaptionerForConditionalGeneration


def resample_grid(grid: Tensor, count: int) -> Tensor:
    """(N, D) -> (count, D); the same tensor where N is ``count``. Computed in float32, ``align_corners=False``."""
    if len(grid) == count:
        return grid
    side, wanted = math.isqrt(len(grid)), math.isqrt(count)
    square = grid.float().reshape(1, side, side, -1).permute(0, 3, 1, 2)  # 1, D, S, S
    resampled = nn.functional.interpolate(square, size=(wanted, wanted), mode="bicubic", align_corners=False)
    return resampled.permute(0, 2, 3, 1).reshape(count, -1).to(grid.dtype)


def resample_positions(positions: Tensor, count: int) -> Tensor:
    """(1, 1 + N, D) -> (1, 1 + count, D): the patches' are resampled, the class token's stays."""
    own, grid = positions[:, :1], positions[0, 1:]
    if len(grid) == count:
        return positions
    return torch.cat((own, resample_grid(grid, count)[None]), dim=1)


def resize_positions(model: "ShareCaptionerForConditionalGeneration", image_size: int) -> None:
    """The model sees pictures of ``image_size`` pixels from now on: 224 -> 448 before the vision encoder is fine-tuned.

    At its own size nothing changes. The processor's size is to be changed with it: ``processor.resize(image_size)``.
    """
    vision = model.config.vision_config
    if image_size <= 0 or image_size % vision.patch_size:
        below = max(1, image_size // vision.patch_size) * vision.patch_size
        raise CaptionlakeError(
            f"image_size = {image_size} is no multiple of the patches' {vision.patch_size} pixels: "
            f"take {below} or {below + vision.patch_size}"
        )
    embeddings = model.vision_tower.embeddings
    count = (image_size // vision.patch_size) ** 2
    if count != embeddings.num_patches:
        old = embeddings.position_embedding
        new = nn.Parameter(resample_positions(old.detach(), count), requires_grad=old.requires_grad)
        embeddings.position_embedding = new
    embeddings.image_size, embeddings.num_patches, embeddings.num_positions = image_size, count, count + 1
    vision.image_size = image_size


def sine_cosine_grid(count: int, width: int) -> Tensor:
    """(N, D): a quarter each of sine and cosine of the column, then of the row (MAE's two-dimensional positions)."""
    side = math.isqrt(count)
    frequencies = 10000.0 ** (-torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    angles = torch.arange(side, dtype=torch.float64)[:, None] * frequencies  # S, D/4
    line = torch.cat((angles.sin(), angles.cos()), dim=1)  # S, D/2
    columns, rows = line.repeat(side, 1), line.repeat_interleave(side, dim=0)
    return torch.cat((columns, rows), dim=1).float()
