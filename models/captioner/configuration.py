"""What a captioner is made of; sizes from tests' to the released one's are in ``sizes.py``."""

import math
from typing import Any

from transformers import AutoConfig, Blip2VisionConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from captionlake.errors import CaptionlakeError


class ShareCaptionerConfig(PreTrainedConfig):  # type: ignore[misc]
    """A vision transformer, a sampler of one cross-attention, a projection and a causal language model.

    ``num_queries`` is a square, as the queries' positions are a grid that is resampled over the picture's patches. The sampler's
    width is the language model's where it is 0, with 128 a head. The released checkpoint's number of heads, the norms' eps and
    whether its keys have positions are not published: the defaults are those of Qwen-VL's sampler, which has the same form.
    """

    model_type = "share_captioner"
    sub_configs_defaults = {  # noqa: RUF012
        "vision_config": Blip2VisionConfig,
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="llama"),
    }

    vision_config: Any = None  # a config, or its dict
    text_config: Any = None
    num_queries: int = 256
    sampler_width: int = 0
    sampler_heads: int = 0
    sampler_eps: float = 1e-6
    image_token_id: int = 0
    initializer_range: float = 0.02
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        self.sampler_width = self.sampler_width or self.text_config.hidden_size
        self.sampler_heads = self.sampler_heads or max(1, self.sampler_width // 128)
        if math.isqrt(self.num_queries) ** 2 != self.num_queries:
            near = math.isqrt(self.num_queries)
            raise CaptionlakeError(
                f"num_queries = {self.num_queries} is no square grid: take {max(1, near) ** 2} or {(near + 1) ** 2}"
            )
        if self.sampler_width % self.sampler_heads or self.sampler_width % 4:
            raise CaptionlakeError(
                f"sampler_width = {self.sampler_width} must be a multiple of 4 and of sampler_heads = {self.sampler_heads}"
            )
        if self.vision_config.image_size % self.vision_config.patch_size:
            raise CaptionlakeError(
                f"image_size = {self.vision_config.image_size} is no multiple of patch_size = {self.vision_config.patch_size}"
            )

    @property
    def num_image_tokens(self) -> int:
        """Placeholders of a picture in the text: its queries, and a learned mark before and behind them."""
        return self.num_queries + 2
