"""A projector's weights out of others' checkpoints."""

import re
from pathlib import Path

from torch import Tensor, nn

from captionlake.errors import CaptionlakeError
from captionlake.models.shards import keys_by_shard, read_shard

# LLaVA's own name of each layer, as in ``model.mm_projector.0.weight``, and transformers'.
LAYERS = {"mm_projector.0": "linear_1", "mm_projector.2": "linear_2"}
_KEY = re.compile(r"(?:.*\.)?(?:(mm_projector\.[02])|multi_modal_projector\.(linear_[12]))\.(weight|bias)")


def load_projector(projector: nn.Module, source: Path) -> None:
    """From ``mm_projector.bin``, a safetensors file, or a folder with a LLaVA of either form."""
    found: dict[str, Tensor] = {}
    for file in _files(source):
        for key, tensor in read_shard(file).items():
            if match := _KEY.fullmatch(key):
                found[f"{match[2] or LAYERS[match[1]]}.{match[3]}"] = tensor
    own = projector.state_dict()
    if missing := own.keys() - found.keys():
        raise CaptionlakeError(f"{source} holds no projector of two layers: it lacks {', '.join(sorted(missing))}")
    for key, tensor in own.items():
        if found[key].shape != tensor.shape:
            raise CaptionlakeError(
                f"the projector in {source} has {key} of {list(found[key].shape)}, and this tower and language model need "
                f"{list(tensor.shape)}: it belongs to other models"
            )
    projector.load_state_dict({key: found[key] for key in own})


def _files(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    if (alone := source / "mm_projector.bin").is_file():
        return [alone]
    if not source.is_dir():
        raise CaptionlakeError(f"{source} does not exist: name a projector's file or a LLaVA's folder")
    return [file for file, keys in keys_by_shard(source).items() if any(_KEY.fullmatch(key) for key in keys)]
