"""A model for toy pictures in the place of CLIP: open_clip's smallest ViT with RANDOM weights, fitted to some pictures.

Random weights give all pictures much the same vector. So the last normalisation's bias is set to take away the mean of
the given pictures' features, and the projection to their principal directions, each divided by its spread: different
pictures then lie apart, and the same picture written twice lies together. Its vectors mean nothing more.
"""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

SIDE = 64
_DIRECTIONS = 64
_CONFIG: dict[str, dict[str, Any]] = {
    "model_cfg": {
        "embed_dim": _DIRECTIONS,
        "vision_cfg": {"image_size": SIDE, "layers": 2, "width": 128, "head_width": 32, "patch_size": 16},
        "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bicubic"},
}


def write_model(folder: Path, pictures: Sequence[bytes]) -> Path:
    """Write the model as open_clip saves one, fitted to the pictures, of which there must be some hundreds."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    preprocessing = open_clip.transform.PreprocessCfg(**_CONFIG["preprocess_cfg"], size=SIDE)
    transform = open_clip.transform.image_transform_v2(preprocessing, is_train=False)
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(0)
        network = open_clip.model.CLIP(**_CONFIG["model_cfg"]).eval()
        tower = network.visual
        batch = torch.stack([transform(Image.open(io.BytesIO(data)).convert("RGB")) for data in pictures])
        seen: list[torch.Tensor] = []
        watch = tower.ln_post.register_forward_hook(lambda _, __, output: seen.append(output))
        tower(batch)
        watch.remove()
        features = seen[0][:, 0]
        tower.ln_post.bias.sub_(features.mean(0))
        _, spreads, directions = torch.linalg.svd(features - features.mean(0), full_matrices=False)
        tower.proj.copy_(directions[:_DIRECTIONS].T / spreads[:_DIRECTIONS])
        folder.mkdir(parents=True)
        state = {name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps(_CONFIG))
    return folder
