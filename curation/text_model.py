"""The text tower of an open_clip model, beside its image tower.

Letters in shapes: B texts of a batch, C tokens of the model's context, D numbers of a vector.
"""

from typing import TYPE_CHECKING

from captionlake.curation.model import EmbedConfig, load_model
from captionlake.curation.open_clip_model import OpenClipEncoder, tensors_hash
from captionlake.errors import CaptionlakeError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_NOT_OF_THE_TEXT = ("visual.", "logit_scale", "logit_bias", "text_decoder.")


class TextModel:
    """Both towers. ``model_id`` is that of the pictures' vectors, ``pair_id`` names the text tower's weights too."""

    def __init__(self, image: OpenClipEncoder) -> None:
        self.image = image
        self.model_id = image.model_id
        self._tokenizer = tokenizer = image.tokenizer
        self._context = int(tokenizer.context_length)
        inner = getattr(tokenizer, "tokenizer", None)  # of the Hub's tokenizers
        self._padding = int(getattr(inner, "pad_token_id", None) or 0)
        self._last = (
            -2 if getattr(tokenizer, "tokenizer_mode", "") == "clips" else -1
        )  # where clips has its class token
        self.pair_id = f"{image.model_id}+text-{self._text_hash()}"

    def text_vectors(self, texts: list[str]) -> "npt.NDArray[np.float32]":
        """Vectors of texts, cut at the model's context: (B, D) float32 of unit length.

        Raises ValueError where one is not finite or is zero.
        """
        return self.image.text_vectors(texts)

    def truncated(self, texts: list[str]) -> list[bool]:
        """Whether each text has more tokens than the model reads: with room for one more, that place is not padding."""
        longer = self._tokenizer(texts, context_length=self._context + 1)  # (B, C + 1)
        return [bool(last != self._padding) for last in longer[:, self._last].tolist()]

    def _text_hash(self) -> str:
        state = self.image.network.state_dict()
        own = {key: tensor for key, tensor in state.items() if not key.startswith(_NOT_OF_THE_TEXT)}
        return tensors_hash(f"{type(self._tokenizer).__name__} {self._context}", own)


def load_text_model(config: EmbedConfig) -> TextModel:
    """Load both towers and the tokenizer. Raises as ``load_model`` does, and where the model has no text tower."""
    encoder = load_model(config)
    if not isinstance(encoder, OpenClipEncoder):
        raise CaptionlakeError(
            f"{config.model} is no model of open_clip: texts are compared with pictures by one of those"
        )
    if not hasattr(encoder.network, "encode_text"):
        raise CaptionlakeError(f"{config.model} has no text tower: choose a CLIP model")
    try:
        return TextModel(encoder)
    except Exception as error:  # what the Hub's client, tokenizers and sentencepiece raise
        said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise CaptionlakeError(
            f"the tokenizer of {config.model} could not be loaded ({said}): check the connection, or the files of the folder"
        ) from error
