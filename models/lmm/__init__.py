"""ShareGPT4V-7B and its like: LLaVA from any CLIP or SigLIP tower and any causal language model."""

from captionlake.errors import require

require("transformers", extra="models")
require("torch", extra="models")

from captionlake.models.lmm.building import build_lmm, image_tokens, random_lmm, use_template  # noqa: E402
from captionlake.models.lmm.collator import Collator  # noqa: E402
from captionlake.models.lmm.convert import convert_llava  # noqa: E402
from captionlake.models.lmm.grouping import ModalityLengthSampler  # noqa: E402
from captionlake.models.lmm.preparing import Prepare  # noqa: E402
from captionlake.models.lmm.sizes import config_of  # noqa: E402
from captionlake.models.lmm.templates import TEMPLATES  # noqa: E402

__all__ = [
    "TEMPLATES",
    "Collator",
    "ModalityLengthSampler",
    "Prepare",
    "build_lmm",
    "config_of",
    "convert_llava",
    "image_tokens",
    "random_lmm",
    "use_template",
]
