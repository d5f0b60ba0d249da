"""The sampler: learned queries read a picture's patches through one cross-attention.

P pictures, N patches, Q queries, V width of the vision encoder, D width of the sampler.
"""

import torch
from torch import Tensor, nn

from .positions import resample_grid


class PerceiveSampler(nn.Module):
    """(P, N, V) -> (P, Q, D). Names of parameters are the released checkpoint's, behind its ``Qformer.``.

    The form is Qwen-VL's resampler: keys carry the queries' position grid, resampled to the patches; values carry none.
    """

    def __init__(self, *, queries: int, width: int, heads: int, vision_width: int, eps: float) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(queries, width))
        self.pos_embed = nn.Parameter(torch.zeros(queries, width))
        self.kv_proj = nn.Linear(vision_width, width, bias=False)
        self.ln_q = nn.LayerNorm(width, eps=eps)
        self.ln_kv = nn.LayerNorm(width, eps=eps)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_post = nn.LayerNorm(width, eps=eps)

    def forward(self, patches: Tensor) -> Tensor:
        values = self.ln_kv(self.kv_proj(patches))  # P, N, D
        keys = values + resample_grid(self.pos_embed, patches.shape[1])
        queries = (self.ln_q(self.query) + self.pos_embed).expand(len(patches), -1, -1)  # P, Q, D
        read, _ = self.attn(queries, keys, values, need_weights=False)
        return self.ln_post(read)  # type: ignore[no-any-return]
