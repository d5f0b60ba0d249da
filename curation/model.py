"""The image tower of an open_clip model, from a tag or a local folder, and the id that its vectors are kept under.

Letters in shapes: B pictures of a batch, D numbers of a vector, H and W pixels of the model's input.
"""

import hashlib
import json
import logging
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import ConfigDict, Field, StrictInt
from pydantic.dataclasses import dataclass

from captionlake.errors import CaptionlakeError, require

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

log = logging.getLogger(__name__)

_CONFIG_FILE = "open_clip_config.json"
_HASH_DIGITS = 12


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class EmbedConfig:
    """Which open_clip model makes the embeddings, and how.

    ``pretrained`` is one of open_clip's tags, or a folder with ``open_clip_config.json`` and
    ``open_clip_model.safetensors``. With a folder the architecture is the folder's, and ``model`` is the name it goes
    by. ``threads`` decode pictures (default: one a core). ``device`` is torch's name of one; ``auto`` is the GPU
    where there is one.
    """

    model: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/+-]*$")]
    pretrained: Annotated[str, Field(min_length=1)]
    batch_size: Annotated[StrictInt, Field(ge=1, le=4096)] | None = None
    threads: Annotated[StrictInt, Field(ge=1, le=256)] | None = None
    device: Annotated[str, Field(min_length=1)] = "auto"


class ImageModel:
    """An image tower in evaluation mode, float32. ``model_id`` names architecture, weights and preprocessing."""

    def __init__(self, name: str, network: Any, architecture: dict[str, Any], device: str) -> None:
        open_clip = require("open_clip", extra="embed")
        preprocessing = open_clip.transform.PreprocessCfg(**open_clip.get_model_preprocess_cfg(network))
        self._transform = open_clip.transform.image_transform_v2(preprocessing, is_train=False)
        self.model_id = f"{name}:{_weights_hash(network, architecture)}:{_preprocessing_name(asdict(preprocessing))}"
        self._device = device
        self._network = network.to(device).eval()
        # On a processor the activations of a large batch leave its caches, so small batches are the quicker ones.
        self.batch_size = 8 if device == "cpu" else 64

    def prepare(self, data: bytes) -> "torch.Tensor":
        """A stored picture, upright, as the model's input: (3, H, W) float32. Safe to call from several threads."""
        from captionlake.lake.pictures import open_rgb

        tensor: torch.Tensor = self._transform(open_rgb(data))
        return tensor

    def vectors(self, pictures: "list[torch.Tensor]") -> "npt.NDArray[np.float32]":
        """Vectors of prepared pictures: (B, D) float32 of unit length.

        Raises ValueError where one is not finite or is zero.
        """
        import numpy as np
        import torch

        with torch.inference_mode():
            raw = self._network.encode_image(torch.stack(pictures).to(self._device))  # (B, D)
        wide = raw.float().cpu().numpy().astype(np.float64)
        lengths = np.linalg.norm(wide, axis=1, keepdims=True)  # (B, 1)
        if not (np.isfinite(lengths).all() and (lengths > 0).all()):
            raise ValueError("a vector is zero or not finite")
        unit: npt.NDArray[np.float32] = (wide / lengths).astype(np.float32)
        return unit


def load_model(config: EmbedConfig) -> ImageModel:
    """Load the model that ``config`` names. Raises where it is unknown, has no weights, or cannot be read.

    Nothing is unpickled: weights are safetensors, or are read with torch's ``weights_only``.
    """
    open_clip = require("open_clip", extra="embed")
    torch = require("torch", extra="embed")
    device = config.device if config.device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
    name = config.model.replace("/", "-")
    folder = Path(config.pretrained)
    if folder.is_dir():
        architecture = _folder_architecture(open_clip, name, folder)
        source, tag = f"local-dir:{folder}", None
    else:
        architecture = _tagged_architecture(open_clip, name, config.pretrained)
        source, tag = name, config.pretrained
    try:
        network = open_clip.create_model(
            source, pretrained=tag, device="cpu", require_pretrained=True, weights_only=True
        )
        return ImageModel(name, network, architecture, device)
    except CaptionlakeError:
        raise
    except Exception as error:  # open_clip lets through what torch, safetensors, timm and the Hub's client raise
        raise CaptionlakeError(
            f"open_clip could not load {config.model} with pretrained = {config.pretrained!r} ({_short(error)}): "
            f"check the name, the device {device}, the connection, or the files of the folder"
        ) from error


def model_id(config: EmbedConfig) -> str:
    """The id of the model that ``config`` names, for which it is loaded.

    For example ``ViT-B-32:4f3c0a9be120:224-bicubic-shortest-1f2e3d4c``: name, weights, size, interpolation, resize
    mode, and a hash of all of the preprocessing, mean and standard deviation included.
    """
    return load_model(config).model_id


def _folder_architecture(open_clip: Any, name: str, folder: Path) -> dict[str, Any]:
    path = folder / _CONFIG_FILE
    try:
        architecture = json.loads(path.read_text())["model_cfg"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CaptionlakeError(
            f"{path} is not an open_clip configuration with model_cfg ({_short(error)}): "
            "give a folder that open_clip saved"
        ) from error
    if not any(folder.glob("*.safetensors")):
        raise CaptionlakeError(
            f"{folder} holds no safetensors weights: save the model there as open_clip_model.safetensors"
        )
    known = open_clip.get_model_config(name)
    if known and _image_part(known) != _image_part(architecture):
        raise CaptionlakeError(
            f"{path} describes another architecture than open_clip's {name}: give this model a name of its own"
        )
    return dict(architecture)


def _tagged_architecture(open_clip: Any, name: str, tag: str) -> dict[str, Any]:
    architecture = open_clip.get_model_config(name)
    if architecture is None:
        raise CaptionlakeError(f"open_clip has no model {name!r}: {_nearest(name, open_clip.list_models())}")
    tags = open_clip.list_pretrained_tags_by_model(name)
    if tag not in tags:
        raise CaptionlakeError(
            f"pretrained = {tag!r} is neither a folder nor one of open_clip's tags for {name}: {_nearest(tag, tags)}"
        )
    return dict(architecture)


def _image_part(architecture: dict[str, Any]) -> dict[str, Any]:
    """What of an architecture decides an image's vector."""
    return {key: architecture.get(key) for key in ("embed_dim", "vision_cfg", "quick_gelu") if architecture.get(key)}


def _weights_hash(network: Any, architecture: dict[str, Any]) -> str:
    """First digits of a SHA-256 over the architecture's image part and the image tower's tensors in order of name."""
    digest = hashlib.sha256(json.dumps(_image_part(architecture), sort_keys=True).encode())
    state = network.visual.state_dict()
    for key in sorted(state):
        tensor = state[key].detach().cpu().contiguous()
        digest.update(f"\n{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()[:_HASH_DIGITS]


def _preprocessing_name(preprocessing: dict[str, Any]) -> str:
    size = preprocessing["size"]
    side = "x".join(str(n) for n in dict.fromkeys(size)) if isinstance(size, list | tuple) else str(size)
    whole = hashlib.sha256(json.dumps(preprocessing, sort_keys=True).encode()).hexdigest()[:8]
    return f"{side}-{preprocessing['interpolation']}-{preprocessing['resize_mode']}-{whole}"


def _nearest(name: str, known: list[str]) -> str:
    lower = {candidate.lower(): candidate for candidate in known}
    near = [lower[match] for match in get_close_matches(name.lower(), list(lower), n=4, cutoff=0.4)]
    return f"nearest are {', '.join(near)}" if near else f"known are {', '.join(known[:8]) or 'none'}"


def _short(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
