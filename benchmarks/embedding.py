"""Embedding: images a second of captionlake's encoding, of the model alone in the same precision, and of a plain open_clip loop.

A model of RANDOM weights (its speed is that of trained ones; its vectors mean nothing) encodes JPEGs in memory, so that no lake
is needed. Goals on a processor: 0.9 of the raw forward rate, and twice the loop that open_clip's README shows (fp32, PIL
preprocessing, a picture at a time). With ``--peak-tflops`` the fraction of the device's peak is printed too.
"""

import argparse
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pictures
import torch
from PIL import Image

from captionlake.curation.encoding import Encoding
from captionlake.curation.model import EmbedConfig, load_model


def save_random_model(name: str, folder: Path) -> Path:
    """open_clip's architecture ``name`` with random weights, as a folder that open_clip loads."""
    import open_clip
    from safetensors.torch import save_file

    torch.manual_seed(0)
    network = open_clip.create_model(name)
    save_file(network.state_dict(), folder / "open_clip_model.safetensors")
    settings = open_clip.get_model_preprocess_cfg(network)
    document = {"model_cfg": open_clip.get_model_config(name), "preprocess_cfg": settings}
    (folder / "open_clip_config.json").write_text(json.dumps(document))
    return folder


def crops(count: int, large: bool) -> list[bytes]:
    """JPEGs of 480 x 360 pixels, or of 1,920 x 1,440."""
    with tempfile.TemporaryDirectory() as temporary:
        pictures.write_crops(Path(temporary), count)
        data = [(Path(temporary) / f"{i}.jpg").read_bytes() for i in range(count)]
    return [_enlarged(one) for one in data] if large else data


def _enlarged(data: bytes) -> bytes:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(data)).resize((1920, 1440)).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def flops_of_picture(vision: dict[str, Any], embed_dim: int) -> float:
    """Floating-point operations of a ViT's forward pass, a multiplication and an addition being two.

    Of n tokens of width w, in each of L layers: 2n(4w^2 + 2rw^2) in the projections of attention and of the MLP of ratio r, and
    4n^2w in the attention; besides the patches' projection and the last one. Norms and activations are left out.
    """
    width, patch, side = vision["width"], vision["patch_size"], vision["image_size"]
    ratio, patches = vision.get("mlp_ratio", 4.0), (side // patch) ** 2
    n = patches + 1
    layer = 2 * n * (4 + 2 * ratio) * width**2 + 4 * n**2 * width
    return float(vision["layers"] * layer + 2 * patches * 3 * patch**2 * width + 2 * width * embed_dim)


def rate(count: int, work: Callable[[], None], device: str) -> float:
    """Pictures a second."""
    started = time.perf_counter()
    work()
    if device != "cpu":
        torch.cuda.synchronize()
    return count / (time.perf_counter() - started)


class Bench:
    """One model in one precision on one device."""

    def __init__(self, folder: Path, precision: Any, device: str, batch_size: int | None, expected: int) -> None:
        self.config = EmbedConfig(model="random", pretrained=str(folder), device=device, precision=precision)
        self.encoder: Any = load_model(self.config)
        self.batch_size = batch_size or self.encoder.batch_size
        self.device = device
        self.encoding = Encoding(self.encoder, batch_size=self.batch_size, expected=expected)

    def encode(self, data: list[bytes]) -> None:
        """captionlake's way: decoding beside the model. The first call starts processes, where there are any."""
        for _ in self.encoding.run((str(i), one) for i, one in enumerate(data)):
            pass

    def prepare(self, data: list[bytes]) -> None:
        """Decoding and preprocessing in one thread alone."""
        for one in data:
            self.encoder.prepare(one)

    def forward(self, count: int) -> None:
        """The model alone, the same batch again and again where it is computed."""
        network = self.encoder.network
        dtype = next(network.parameters()).dtype
        side = network.visual.image_size
        batch = torch.randn(self.batch_size, 3, *side, device=self.device, dtype=dtype)
        with torch.inference_mode():
            for _ in range(count // self.batch_size):
                network.encode_image(batch)


def readme_loop(folder: Path, data: list[bytes], device: str) -> None:
    """As open_clip's README encodes an image: preprocess, one picture, no_grad, normalise."""
    import open_clip

    network, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}", device=device)
    network.eval()
    for one in data:
        image = preprocess(Image.open(io.BytesIO(one))).unsqueeze(0).to(device)
        with torch.no_grad():
            features = network.encode_image(image)
            features /= features.norm(dim=-1, keepdim=True)
            features.cpu()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="ViT-B-32")
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--loop-images", type=int, default=100, help="for the README's loop, which is slow")
    parser.add_argument("--repeats", type=int, default=1, help="encode the images so many times in one measurement")
    parser.add_argument("--rounds", type=int, default=3, help="the median of so many is printed")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--large", action="store_true", help="pictures of 1,920 x 1,440 in place of 480 x 360")
    parser.add_argument("--peak-tflops", type=float, help="the device's peak in bf16, to print the fraction reached")
    options = parser.parse_args()
    data = crops(options.images, options.large) * options.repeats
    with tempfile.TemporaryDirectory() as temporary:
        folder = save_random_model(options.model, Path(temporary))
        model_config = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
        flops = flops_of_picture(model_config["vision_cfg"], model_config["embed_dim"])
        benches = {
            name: Bench(folder, name, options.device, options.batch_size, len(data)) for name in options.precision
        }
        loop_data = data[: options.loop_images]
        for bench in benches.values():
            bench.encode(data[: 2 * bench.batch_size])
        found: dict[str, list[float]] = {}
        for _ in range(options.rounds):
            loop = found.setdefault("loop", [])
            loop.append(rate(len(loop_data), lambda: readme_loop(folder, loop_data, options.device), options.device))
            for name, bench in benches.items():
                count = len(data) // bench.batch_size * bench.batch_size
                forward, encode = found.setdefault(f"{name} forward", []), found.setdefault(f"{name} encode", [])
                forward.append(rate(count, lambda b=bench, n=count: b.forward(n), options.device))  # type: ignore[misc]
                encode.append(rate(len(data), lambda b=bench: b.encode(data), options.device))  # type: ignore[misc]
        bench = next(iter(benches.values()))
        one_thread = rate(len(loop_data), lambda: bench.prepare(loop_data), "cpu")
        for bench in benches.values():
            bench.encoding.close()
    middle = {name: statistics.median(rates) for name, rates in found.items()}
    where = torch.cuda.get_device_name() if options.device != "cpu" else f"{torch.get_num_threads()} threads"
    print(f"{options.model} of random weights, {len(data):,} JPEGs, {where}, {flops / 1e9:.1f} GFLOPs a picture")
    print(f"decoding and preprocessing, one thread: {one_thread:,.0f} images/s")
    print(f"open_clip as in its README, fp32, one picture at a time: {middle['loop']:,.1f} images/s")
    for name, bench in benches.items():
        forward_rate, encode_rate = middle[f"{name} forward"], middle[f"{name} encode"]
        said = (
            f"{name}, batches of {bench.batch_size}: model alone {forward_rate:,.1f} images/s, captionlake {encode_rate:,.1f}: "
            f"{encode_rate / forward_rate:.2f} of it (goal 0.9), {encode_rate / middle['loop']:.2f} times the loop (goal 2)"
        )
        if options.peak_tflops:
            peak = options.peak_tflops * 1e12
            said += f"; of the peak: model alone {forward_rate * flops / peak:.1%}, captionlake {encode_rate * flops / peak:.1%}"
        print(said)


if __name__ == "__main__":
    main()
