"""An open_clip model as an encoder: loaded from a tag or a local folder, and the id that its vectors are kept under.

Letters in shapes: B pictures of a batch, D numbers of a vector, H and W pixels of the model's input.
"""

import functools
import hashlib
import json
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captionlake.curation.encoder import no_text_side, short, unit_rows
from captionlake.curation.preprocessing import Preprocessing
from captionlake.errors import CaptionlakeError, require
from captionlake.placement import Placement

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    from captionlake.curation.model import EmbedConfig

_CONFIG_FILE = "open_clip_config.json"
_HASH_DIGITS = 12


class OpenClipEncoder:
    """Both towers of an open_clip model; an :class:`~captionlake.curation.encoder.Encoder`."""

    def __init__(
        self, name: str, source: str, network: Any, architecture: dict[str, Any], placement: Placement
    ) -> None:
        """``source`` is where open_clip finds the tokenizer: the architecture's name, or ``local-dir:`` and a folder."""
        open_clip = require("open_clip", extra="embed")
        torch = require("torch", extra="embed")
        settings = open_clip.transform.PreprocessCfg(**open_clip.get_model_preprocess_cfg(network))
        self.prepare = Preprocessing(settings)
        weights = _weights_hash(network, architecture)
        self.model_id = f"{name}:{weights}:{self.prepare.name}{placement.suffix()}"
        self.placement, self._source = placement, source
        self.network = network.to(device=placement.device, dtype=placement.dtype).eval()
        as_row = functools.partial(torch.tensor, dtype=torch.float32, device=placement.device)
        self._mean = as_row(self.prepare.mean) * 255  # (3,)
        self._std = as_row(self.prepare.std) * 255  # (3,)
        # On a processor the activations of a large batch leave its caches, so small batches are the quicker ones.
        self.batch_size = 256 if placement.on_gpu else 8
        self.batches_at_once = 2 if placement.on_gpu else 1

    def vectors(self, pictures: "list[torch.Tensor]") -> "npt.NDArray[np.float32]":
        """See :class:`~captionlake.curation.encoder.Encoder`."""
        import torch

        with torch.inference_mode():
            batch = torch.stack(pictures)  # (B, H, W, 3)
            if self.placement.on_gpu:
                batch = batch.pin_memory().to(self.placement.device, non_blocking=True)
            scaled = ((batch - self._mean) / self._std).to(self.placement.dtype)
            return unit_rows(self.network.encode_image(scaled.permute(0, 3, 1, 2)))

    def text_vectors(self, texts: list[str]) -> "npt.NDArray[np.float32]":
        """See :class:`~captionlake.curation.encoder.Encoder`."""
        import torch

        if not hasattr(self.network, "encode_text"):
            raise no_text_side(self.model_id)
        try:
            tokens = self.tokenizer(texts).to(self.placement.device)  # (B, tokens)
            with torch.inference_mode():
                return unit_rows(self.network.encode_text(tokens))
        except ValueError:
            raise
        except Exception as error:  # the tokenizer's files, the Hub's client, tokens that the model does not know
            raise CaptionlakeError(
                f"{self.model_id} made no vectors of {len(texts)} texts ({short(error)}): "
                "check the tokenizer that the model's text_cfg names"
            ) from error

    @functools.cached_property
    def tokenizer(self) -> Any:
        """open_clip's tokenizer of the model's texts."""
        return require("open_clip", extra="embed").get_tokenizer(self._source)


def load_open_clip(config: "EmbedConfig", placement: Placement) -> OpenClipEncoder:
    """Load the model that ``config`` names. Raises where it is unknown, has no weights, or cannot be read."""
    open_clip = require("open_clip", extra="embed")
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
        return OpenClipEncoder(name, source, network, architecture, placement)
    except CaptionlakeError:
        raise
    except Exception as error:  # open_clip lets through what torch, safetensors, timm and the Hub's client raise
        raise CaptionlakeError(
            f"open_clip could not load {config.model} with pretrained = {config.pretrained!r} ({short(error)}): "
            f"check the name, the device {placement.device}, the connection, or the files of the folder"
        ) from error


def _folder_architecture(open_clip: Any, name: str, folder: Path) -> dict[str, Any]:
    path = folder / _CONFIG_FILE
    try:
        architecture = json.loads(path.read_text())["model_cfg"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CaptionlakeError(
            f"{path} is not an open_clip configuration with model_cfg ({short(error)}): "
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
    described = json.dumps(_image_part(architecture), sort_keys=True)
    return tensors_hash(described, network.visual.state_dict())


def tensors_hash(described: str, state: "dict[str, torch.Tensor]") -> str:
    """First digits of a SHA-256 over a description and over tensors in order of name, their types and shapes included."""
    import torch

    digest = hashlib.sha256(described.encode())
    for key in sorted(state):
        tensor = state[key].detach().cpu().contiguous()
        digest.update(f"\n{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())  # numpy knows no bfloat16
    return digest.hexdigest()[:_HASH_DIGITS]


def _nearest(name: str, known: list[str]) -> str:
    lower = {candidate.lower(): candidate for candidate in known}
    near = [lower[match] for match in get_close_matches(name.lower(), list(lower), n=4, cutoff=0.4)]
    return f"nearest are {', '.join(near)}" if near else f"known are {', '.join(known[:8]) or 'none'}"
