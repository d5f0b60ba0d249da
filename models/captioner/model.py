"""Share-Captioner as a transformers model: vision encoder, sampler, projection, language model.

B rows, T tokens, P pictures of the batch in the order of their placeholders, N patches, Q queries, D width of the language model.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, Blip2VisionModel, GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling, CausalLMOutputWithPast

from captionlake.errors import CaptionlakeError

from .configuration import ShareCaptionerConfig
from .positions import resize_positions, sine_cosine_grid
from .sampler import PerceiveSampler


class CaptionerVision(Blip2VisionModel):  # type: ignore[misc]
    """EVA's ViT as BLIP-2 has it, without the final norm, which the captioner's original lacks."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.post_layernorm = nn.Identity()


class ShareCaptionerForConditionalGeneration(PreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """``generate`` and ``forward`` take ``input_ids`` with ``config.num_image_tokens`` placeholders a picture.

    ``pixel_values`` (P, 3, H, W) are the pictures of all rows in order; a row may have several or none.
    """

    config_class = ShareCaptionerConfig
    config: ShareCaptionerConfig
    main_input_name = "input_ids"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    _no_split_modules = ["PerceiveSampler"]  # noqa: RUF012
    _skip_keys_device_placement = ["past_key_values"]  # noqa: RUF012
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    def __init__(self, config: ShareCaptionerConfig) -> None:
        super().__init__(config)
        width = config.text_config.hidden_size
        self.vision_tower = CaptionerVision._from_config(config.vision_config)
        self.sampler = PerceiveSampler(
            queries=config.num_queries,
            width=config.sampler_width,
            heads=config.sampler_heads,
            vision_width=config.vision_config.hidden_size,
            eps=config.sampler_eps,
        )
        self.projector = nn.Linear(config.sampler_width, width)
        self.flag_image_start = nn.Parameter(torch.zeros(1, 1, width))
        self.flag_image_end = nn.Parameter(torch.zeros(1, 1, width))
        self.language_model = AutoModelForCausalLM.from_config(config.text_config)
        self.post_init()

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: Any, *args: Any, image_size: int | None = None, **kwargs: Any
    ) -> Any:
        """As every ``from_pretrained``; with ``image_size`` the position embeddings are resampled to it."""
        loaded = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        if image_size is not None:
            resize_positions(loaded[0] if isinstance(loaded, tuple) else loaded, image_size)
        return loaded

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        std = self.config.initializer_range
        if isinstance(module, PerceiveSampler):
            init.trunc_normal_(module.query, mean=0.0, std=std)
            init.copy_(module.pos_embed, sine_cosine_grid(*module.pos_embed.shape))
        elif module is self:
            init.normal_(self.flag_image_start, mean=0.0, std=std)
            init.normal_(self.flag_image_end, mean=0.0, std=std)

    def get_input_embeddings(self) -> nn.Embedding:
        return self.language_model.get_input_embeddings()  # type: ignore[no-any-return]

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.language_model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        return self.language_model.get_output_embeddings()  # type: ignore[no-any-return]

    def set_output_embeddings(self, value: nn.Module) -> None:
        self.language_model.set_output_embeddings(value)

    def get_image_features(self, pixel_values: Tensor) -> BaseModelOutputWithPooling:
        """``last_hidden_state`` (P, N, V) of the patches, ``pooler_output`` (P, Q + 2, D) as the language model reads it."""
        patches = self.vision_tower(pixel_values).last_hidden_state[:, 1:]  # without the class token
        read = self.projector(self.sampler(patches))  # P, Q, D
        start, end = (flag.expand(len(read), -1, -1) for flag in (self.flag_image_start, self.flag_image_end))
        return BaseModelOutputWithPooling(last_hidden_state=patches, pooler_output=torch.cat((start, read, end), dim=1))

    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """As the language model's ``forward``; labels of -100 have no loss. Placeholders and pictures must agree."""
        if inputs_embeds is None:
            if input_ids is None:
                raise CaptionlakeError("forward needs input_ids or inputs_embeds")
            inputs_embeds = self.get_input_embeddings()(input_ids)  # B, T, D
            begins = past_key_values is None or past_key_values.get_seq_length() == 0
            if pixel_values is not None or begins:
                inputs_embeds = self._with_pictures(inputs_embeds, input_ids, pixel_values)
        return self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            labels=labels,
            logits_to_keep=logits_to_keep,
            **kwargs,
        )

    def _with_pictures(self, embeds: Tensor, input_ids: Tensor, pixel_values: Tensor | None) -> Tensor:
        """Embeddings (B, T, D) with the pictures' in the places of their placeholders."""
        places = input_ids == self.config.image_token_id  # B, T
        there = 0 if pixel_values is None else len(pixel_values)
        asked = int(places.sum())
        if asked != there * self.config.num_image_tokens:
            raise CaptionlakeError(
                f"the text has {asked} placeholders of pictures and {there} pictures fill "
                f"{there * self.config.num_image_tokens} ({self.config.num_image_tokens} each): "
                "make the text with this checkpoint's processor"
            )
        if pixel_values is None:
            return embeds
        side = self.config.vision_config.image_size
        if tuple(pixel_values.shape[-2:]) != (side, side):
            raise CaptionlakeError(
                f"the pictures are {pixel_values.shape[-1]}x{pixel_values.shape[-2]} pixels and the model reads {side}x{side}: "
                "make them with this checkpoint's processor, or call resize_positions"
            )
        pictures = self.get_image_features(pixel_values).pooler_output.to(embeds.dtype)
        return embeds.masked_scatter(places[..., None], pictures)

    def _expand_inputs_for_generation(
        self, expand_size: int = 1, input_ids: Tensor | None = None, **kwargs: Any
    ) -> tuple[Tensor | None, dict[str, Any]]:
        """Each row as often as it has beams, with all its pictures: the inherited method counts a picture a row."""
        pixel_values = kwargs.pop("pixel_values", None)
        if pixel_values is not None and input_ids is not None:
            places = (input_ids == self.config.image_token_id).sum(dim=1)
            rows = pixel_values.split((places // self.config.num_image_tokens).tolist())
            pixel_values = torch.cat([row for row in rows for _ in range(expand_size)])
        input_ids, kwargs = super()._expand_inputs_for_generation(expand_size, input_ids=input_ids, **kwargs)
        if pixel_values is not None:
            kwargs["pixel_values"] = pixel_values
        return input_ids, kwargs
