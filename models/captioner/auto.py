"""The captioner under transformers' auto classes, from the moment its package is imported."""

from transformers import AutoConfig, AutoModelForImageTextToText, AutoModelForMultimodalLM, AutoProcessor
from transformers.models.auto import modeling_auto

from .configuration import ShareCaptionerConfig
from .model import ShareCaptionerForConditionalGeneration
from .processor import ShareCaptionerProcessor


def register() -> None:
    """Safe to call twice."""
    model, kind = ShareCaptionerForConditionalGeneration, ShareCaptionerConfig.model_type
    AutoConfig.register(kind, ShareCaptionerConfig, exist_ok=True)
    AutoModelForImageTextToText.register(ShareCaptionerConfig, model, exist_ok=True)
    AutoModelForMultimodalLM.register(ShareCaptionerConfig, model, exist_ok=True)
    AutoProcessor.register(ShareCaptionerConfig, ShareCaptionerProcessor, exist_ok=True)
    # `transformers serve` asks these tables of names what a model of this kind takes, not the mappings above.
    modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES[kind] = model.__name__
    modeling_auto.MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES[kind] = model.__name__
