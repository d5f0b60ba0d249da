"""The sampler against its formula written out, head by head."""

import math

import torch
from torch import Tensor, nn

from captionlake.models.captioner.positions import resample_grid
from captionlake.models.captioner.sampler import PerceiveSampler


def _sampler() -> PerceiveSampler:
    torch.manual_seed(0)
    made = PerceiveSampler(queries=9, width=16, heads=2, vision_width=12, eps=1e-6)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(std=0.5)
    return made


def _written_out(sampler: PerceiveSampler, patches: Tensor) -> Tensor:
    """One picture: (N, 12) -> (9, 16)."""

    def normed(norm: nn.LayerNorm, rows: Tensor) -> Tensor:
        centred = rows - rows.mean(-1, keepdim=True)
        return centred / (rows.var(-1, unbiased=False, keepdim=True) + 1e-6).sqrt() * norm.weight + norm.bias

    values = normed(sampler.ln_kv, patches @ sampler.kv_proj.weight.T)
    keys = values + resample_grid(sampler.pos_embed, len(patches))
    queries = normed(sampler.ln_q, sampler.query) + sampler.pos_embed
    weights, biases = sampler.attn.in_proj_weight.chunk(3), sampler.attn.in_proj_bias.chunk(3)
    q, k, v = (
        rows @ weight.T + bias for rows, weight, bias in zip((queries, keys, values), weights, biases, strict=True)
    )
    heads = [
        ((q[:, part] @ k[:, part].T) / math.sqrt(8)).softmax(-1) @ v[:, part] for part in (slice(0, 8), slice(8, 16))
    ]
    return normed(sampler.ln_post, sampler.attn.out_proj(torch.cat(heads, dim=1)))


def test_it_is_its_formula_at_any_number_of_patches() -> None:
    sampler = _sampler()
    for side in (2, 3, 5):
        pictures = torch.randn(2, side * side, 12)
        expected = torch.stack([_written_out(sampler, picture) for picture in pictures])
        torch.testing.assert_close(sampler(pictures), expected, atol=1e-5, rtol=1e-4)


def test_only_positions_tell_patches_apart() -> None:
    sampler = _sampler()
    picture = torch.randn(1, 25, 12)
    turned = picture.flip(1)
    assert not torch.allclose(sampler(picture), sampler(turned), atol=1e-3)
    with torch.no_grad():
        sampler.pos_embed.zero_()
    torch.testing.assert_close(sampler(picture), sampler(turned))
