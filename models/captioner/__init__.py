"""Share-Captioner: the model that captions pictures at scale. Importing it registers transformers' auto classes."""

from captionlake.errors import require

require("transformers", extra="models")
require("torch", extra="models")

from .auto import register  # noqa: E402
from .building import build, load  # noqa: E402
from .configuration import ShareCaptionerConfig  # noqa: E402
from .conversion import convert  # noqa: E402
from .model import ShareCaptionerForConditionalGeneration  # noqa: E402
from .positions import resize_positions  # noqa: E402
from .processor import ShareCaptionerProcessor  # noqa: E402
from .prompts import AUTHORS_GENERATION, UNIFIED_PROMPT  # noqa: E402
from .sizes import config_of  # noqa: E402
from .tokenizers import train_tokenizer  # noqa: E402

register()

__all__ = [
    "AUTHORS_GENERATION",
    "UNIFIED_PROMPT",
    "ShareCaptionerConfig",
    "ShareCaptionerForConditionalGeneration",
    "ShareCaptionerProcessor",
    "build",
    "config_of",
    "convert",
    "load",
    "resize_positions",
    "train_tokenizer",
]
