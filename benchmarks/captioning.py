"""Captioning by a checkpoint: batches against one picture at a time, pictures a second of each, in turn and in one process.

    python benchmarks/captioning.py                      # a captioner "small" and a LLaVA "tiny" of random weights, on the processor
    python benchmarks/captioning.py --checkpoint checkpoints/mine --device cuda --max-tokens 300 --batch-size 32 --pictures 256

The weights are random unless a checkpoint is given, and so is what they write; the work is that of a trained model of the size. Loading
is not in the time; reading, decoding and commits are. The pictures are noise.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from teacher import fill

from captionlake.lake import Lake
from captionlake.models.captions import rows_to_caption
from captionlake.models.running import CaptionerRun, CheckpointCaptioner, GenerationConfig


def random_checkpoints(folder: Path) -> list[Path]:
    """One of each family."""
    from captionlake.models.captioner import build, train_tokenizer
    from captionlake.models.lmm import random_lmm

    words = ["A photograph of a street with a tree, a bench and two people."]
    made = {
        "random-captioner-small": build("small", train_tokenizer(words, 320)),
        "random-llava-tiny": random_lmm("tiny", train_tokenizer(words, 320)),
    }
    for name, (model, processor) in made.items():
        model.save_pretrained(folder / name)
        processor.save_pretrained(folder / name)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        print(f"{name}: {parameters:,} parameters, random")
    return [folder / name for name in made]


def run(lake: Lake, folder: Path, batch_size: int, options: argparse.Namespace) -> CaptionerRun:
    """Caption all pictures of the lake, and forget the captions."""
    config = GenerationConfig(
        max_tokens=options.max_tokens, device=options.device, precision=options.precision, batch_size=batch_size
    )
    done = CheckpointCaptioner.find(folder, config).caption(lake, rows_to_caption(lake))
    assert done.captioned + done.n_failed == options.pictures
    lake.commit(lambda connection: connection.execute("DELETE FROM captions").fetchall())
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--pictures", type=int, default=64)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--max-tokens", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, Lake.init(Path(temporary) / "lake") as lake:
        fill(lake, options.pictures, options.side)
        for folder in [options.checkpoint] if options.checkpoint else random_checkpoints(Path(temporary)):
            ratios = []
            for _ in range(options.runs):
                alone, batched = run(lake, folder, 1, options), run(lake, folder, options.batch_size, options)
                ratios.append(batched.images_per_second / alone.images_per_second)
                print(
                    f"{folder.name} on {batched.device} in {batched.precision}: one by one {alone.images_per_second:.2f} images/s "
                    f"({alone.tokens_per_second:,.0f} tokens/s), {batched.batch_size} at a time {batched.images_per_second:.2f} "
                    f"({batched.tokens_per_second:,.0f}): {ratios[-1]:.2f}"
                )
            print(f"{folder.name}: median ratio {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
