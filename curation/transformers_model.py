"""A vision model of transformers (CLIP, SigLIP, DINOv2) as an encoder: from a local folder or from the Hub.

Weights are safetensors, and no code that comes with a model is run. Letters in shapes: B pictures of a batch, D numbers
of a vector, H and W pixels of the model's input.
"""

import functools
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captionlake.curation.encoder import no_text_side, short, unit_rows
from captionlake.curation.open_clip_model import tensors_hash
from captionlake.errors import CaptionlakeError, require
from captionlake.lake.pictures import open_rgb
from captionlake.placement import Placement

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    from captionlake.curation.model import EmbedConfig

_TRUSTED: dict[str, Any] = {"trust_remote_code": False}
_TEXT_KEYS = ("text_model.", "text_projection.", "logit_scale", "logit_bias")


class Prepare:
    """A stored picture, upright, as the model's own image processor makes it: (3, H, W) float32."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor

    def __call__(self, data: bytes) -> "torch.Tensor":
        made: torch.Tensor = self._processor(images=open_rgb(data), return_tensors="pt")["pixel_values"][0]
        return made


class TransformersEncoder:
    """An :class:`~captionlake.curation.encoder.Encoder`.

    A picture's vector is what ``get_image_features`` gives, or, of a model without a text side, the class token after the
    last norm (``pooler_output``).
    """

    def __init__(self, name: str, source: str, network: Any, processor: Any, placement: Placement) -> None:
        self.placement, self._source, self.prepare = placement, source, Prepare(processor)
        prepares = json.dumps(processor.to_dict(), sort_keys=True, default=str)
        state = {key: value for key, value in network.state_dict().items() if not key.startswith(_TEXT_KEYS)}
        weights = tensors_hash(_image_part(network.config), state)
        preprocessing = f"transformers-{hashlib.sha256(prepares.encode()).hexdigest()[:8]}"
        self.model_id = f"{name}:{weights}:{preprocessing}{placement.suffix()}"
        self._network = network.to(device=placement.device, dtype=placement.dtype).eval()
        self.batch_size = 256 if placement.on_gpu else 8
        self.batches_at_once = 2 if placement.on_gpu else 1

    def vectors(self, pictures: "list[torch.Tensor]") -> "npt.NDArray[np.float32]":
        """See :class:`~captionlake.curation.encoder.Encoder`."""
        import torch

        with torch.inference_mode():
            batch = torch.stack(pictures)  # (B, 3, H, W)
            if self.placement.on_gpu:
                batch = batch.pin_memory().to(self.placement.device, non_blocking=True)
            batch = batch.to(self.placement.dtype)
            if hasattr(self._network, "get_image_features"):
                return unit_rows(_pooled(self._network.get_image_features(pixel_values=batch)))
            return unit_rows(_pooled(self._network(pixel_values=batch)))

    def text_vectors(self, texts: list[str]) -> "npt.NDArray[np.float32]":
        """See :class:`~captionlake.curation.encoder.Encoder`. Texts are padded to the model's length, as SigLIP needs it."""
        import torch

        if not hasattr(self._network, "get_text_features"):
            raise no_text_side(self.model_id)
        try:
            length = self._network.config.text_config.max_position_embeddings
            tokens = self._tokenizer(
                texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
            )
            with torch.inference_mode():
                return unit_rows(_pooled(self._network.get_text_features(**tokens.to(self.placement.device))))
        except ValueError:
            raise
        except Exception as error:  # the tokenizer's files, the Hub's client, tokens that the model does not know
            raise CaptionlakeError(
                f"{self.model_id} made no vectors of {len(texts)} texts ({short(error)}): "
                f"check the tokenizer of {self._source}"
            ) from error

    @functools.cached_property
    def _tokenizer(self) -> Any:
        transformers = require("transformers", extra="models")
        try:
            return transformers.AutoTokenizer.from_pretrained(self._source, **_TRUSTED)
        except Exception as error:
            raise CaptionlakeError(
                f"transformers could not load a tokenizer from {self._source} ({short(error)}): "
                "save it beside the model, or search by a picture"
            ) from error


def load_transformers(config: "EmbedConfig", placement: Placement) -> TransformersEncoder:
    """Load the folder or the Hub's repository that ``config.pretrained`` names."""
    transformers = require("transformers", extra="models")
    source = config.pretrained
    if Path(source).is_dir() and not any(Path(source).glob("*.safetensors")):
        raise CaptionlakeError(f"{source} holds no safetensors weights: save the model there with save_pretrained")
    try:
        network = transformers.AutoModel.from_pretrained(source, use_safetensors=True, dtype="float32", **_TRUSTED)
        processor = transformers.AutoImageProcessor.from_pretrained(source, **_TRUSTED)
    except Exception as error:  # transformers lets through what safetensors, the Hub's client and torch raise
        raise CaptionlakeError(
            f"transformers could not load {source!r} as a model of pictures ({short(error)}): "
            "give a folder that save_pretrained wrote, image processor included, or a name on the Hub"
        ) from error
    if not (hasattr(network, "get_image_features") or network.main_input_name == "pixel_values"):
        raise CaptionlakeError(f"{source} is a model of {network.config.model_type}, which takes no pictures")
    return TransformersEncoder(config.model.replace("/", "-"), source, network, processor, placement)


def _pooled(output: Any) -> "torch.Tensor":
    """(B, D): newer transformers give features within an output, older ones alone."""
    found: torch.Tensor = output if hasattr(output, "shape") else output.pooler_output
    return found


def _image_part(config: Any) -> str:
    """What of a configuration decides an image's vector, as JSON."""
    vision = getattr(config, "vision_config", config).to_dict()
    for untold in ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "architectures"):
        vision.pop(untold, None)
    return json.dumps(vision, sort_keys=True, default=str)
