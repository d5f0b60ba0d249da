"""Full-size models of random weights on one GPU: what share of its bf16 peak a training step reaches, and how many captions a second.

    python benchmarks/gpu.py train                                # ShareGPT4V-7B's pre-training stage, one GPU of 141 GB
    python benchmarks/gpu.py train --size smollm2 --per-device 64  # a smaller GPU
    python benchmarks/gpu.py caption --batch-sizes 64 128 256       # the captioner of the released shape, 448 pixels

Training is a recipe's stage ``pretrain`` through our Trainer: the ViT's blocks from the twelfth on, projector and language model learn,
with gradient checkpointing, AdamW and fp32 weights. Its samples are made up and ready in memory: 576 tokens of a picture and 207 of text
(826 characters of the paper's captions, by four a token). Operations of a step are those of ``models/training/costs.py``: the model's own
(without what checkpointing repeats) over the time give MFU, all of them HFU, both against the peak of the data sheet.

Captioning is the whole way from a lake: pictures read and decoded by threads, batches through ``generate``, captions committed. Random
weights never end a text, so each caption takes all of its tokens.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from captioning import run as caption_all
from teacher import fill
from transformers import TrainerCallback
from transformers.trainer_callback import PrinterCallback

from captionlake.lake import Lake
from captionlake.models.training import DataConfig, ModelConfig, TrainConfig, TrainJob
from captionlake.models.training.arguments import arguments
from captionlake.models.training.costs import sample_flops, shapes_of
from captionlake.models.training.gpus import GPUS
from captionlake.models.training.order import RunOrder, shuffled
from captionlake.models.training.trainer import ReleaseTrainer
from captionlake.placement import place

TEXT_TOKENS = 207
WARM = 2  # steps that are not counted


class MadeUp(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Samples of one length: a picture's placeholders and chance tokens."""

    def __init__(self, config: Any, count: int) -> None:
        self._config, self._count = config, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        chance = torch.Generator().manual_seed(index)
        words = torch.randint(3, 30_000, (TEXT_TOKENS,), generator=chance)
        ids = torch.cat([torch.full((self._config.image_seq_length,), self._config.image_token_id), words])
        side = self._config.vision_config.image_size
        return {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "labels": torch.cat([torch.full((self._config.image_seq_length,), -100), words]),
            "pixel_values": torch.randn((3, side, side), generator=chance),
            "positions": torch.tensor(index),
        }


class Clock(TrainerCallback):  # type: ignore[misc]
    """The time at the end of each step, when the GPU is done."""

    def __init__(self) -> None:
        self.ended: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ended.append(time.perf_counter())


def train(options: argparse.Namespace) -> dict[str, Any]:
    """Steps of the pre-training stage."""
    from transformers import LlavaForConditionalGeneration

    from captionlake.models.lmm.sizes import config_of
    from captionlake.models.parts import freeze_all_but, parts_of

    PartialState()
    batch = options.per_device * options.accumulation
    with tempfile.TemporaryDirectory() as folder:
        job = TrainJob(
            stage="pretrain",
            path=Path(folder) / "recipe.toml",
            text="",
            lake=Path(folder),
            data=DataConfig(release="made@1.0.0"),
            model=ModelConfig(size=options.size),
            train=TrainConfig(
                output=str(Path(folder) / "checkpoint"),
                batch_size=batch,
                per_device=options.per_device,
                gradient_checkpointing=not options.keep_activations,
                save_every=1_000_000,
                max_steps=options.steps,
                workers=2,
            ),
            lora=None,
        )
        with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
            model = LlavaForConditionalGeneration(config_of(options.size))
        model.set_attn_implementation(job.train.attention)
        model.config.text_config.use_cache = False
        freeze_all_but(model, job.trained)
        args = arguments(job, model, place("cuda", "bf16", extra="train"), processes=1, steps=options.steps)
        args.save_strategy = "no"
        clock = Clock()
        trainer = ReleaseTrainer(
            order=RunOrder(shuffled(batch * options.steps, 0), batch, options.steps),
            label=job.data.release,
            vision=parts_of(model)["vision"],
            vision_lr=None,
            model=model,
            args=args,
            train_dataset=MadeUp(model.config, batch * options.steps),
            callbacks=[clock],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    seconds = statistics.median(b - a for a, b in zip(clock.ended[WARM - 1 :], clock.ended[WARM:], strict=False))
    shapes = shapes_of(model, text_tokens=TEXT_TOKENS)
    own = sample_flops(shapes, checkpointing=False) * batch
    done = sample_flops(shapes, checkpointing=not options.keep_activations) * batch
    peak = GPUS[options.gpu].tflops * 1e12
    return {
        "gpu": torch.cuda.get_device_name(),
        "size": options.size,
        "parameters": sum(p.numel() for p in model.parameters()),
        "trained": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "per_device": options.per_device,
        "accumulation": options.accumulation,
        "gradient_checkpointing": not options.keep_activations,
        "step_s": round(seconds, 3),
        "samples_per_s": round(batch / seconds, 2),
        "tflops": round(own / seconds / 1e12, 1),
        "mfu": round(own / seconds / peak, 3),
        "hfu": round(done / seconds / peak, 3),
        "memory_gib": round(torch.cuda.max_memory_allocated() / 2**30, 1),
    }


def words_tokenizer(count: int) -> Any:
    """A word a token, ``count`` of them: a vocabulary of the released model's size, for nothing but its size."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    marks = ["<unk>", "<s>", "</s>"]
    words = {word: place for place, word in enumerate([*marks, *(f"w{n}" for n in range(count - len(marks) - 1))])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", padding_side="left"
    )


def save_captioner(folder: Path, size: str) -> int:
    """Random weights in bf16; their number."""
    from captionlake.models.captioner import ShareCaptionerForConditionalGeneration, config_of
    from captionlake.models.captioner.building import generation_config, new_processor
    from captionlake.models.tokens import fit_for_pictures

    config = config_of(size)
    tokenizer = words_tokenizer(config.text_config.vocab_size)
    fit_for_pictures(tokenizer)
    config.image_token_id = tokenizer.convert_tokens_to_ids("<image>")
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = ShareCaptionerForConditionalGeneration(config)
    torch.set_default_dtype(torch.float32)
    model.generation_config = generation_config(config, tokenizer)
    model.save_pretrained(folder)
    new_processor(config, tokenizer).save_pretrained(folder)
    return sum(parameter.numel() for parameter in model.parameters())


def caption(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Captions a second at each size of a batch."""
    found = []
    with tempfile.TemporaryDirectory() as temporary, Lake.init(Path(temporary) / "lake") as lake:
        fill(lake, options.pictures, 640)
        folder = options.checkpoint or Path(temporary) / f"random-captioner-{options.size}"
        parameters = None if options.checkpoint else save_captioner(folder, options.size)
        torch.cuda.empty_cache()
        for size in options.batch_sizes:
            done = caption_all(lake, folder, size, options)
            found.append(
                {
                    "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
                    "checkpoint": folder.name,
                    "parameters": parameters,
                    "pictures": options.pictures,
                    "tokens": options.max_tokens,
                    "decoding": "greedy",
                    "precision": done.precision,
                    "batch": done.batch_size,
                    "images_per_s": round(done.images_per_second, 2),
                    "tokens_per_s": round(done.tokens_per_second),
                }
            )
            print(json.dumps(found[-1]), flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    training = kinds.add_parser("train", help="share of the bf16 peak")
    training.add_argument("--size", default="7b", help="of the LMM")
    training.add_argument("--per-device", type=int, default=16)
    training.add_argument("--accumulation", type=int, default=4)
    training.add_argument("--steps", type=int, default=6)
    training.add_argument("--keep-activations", action="store_true", help="no gradient checkpointing")
    training.add_argument("--gpu", default="h200", choices=sorted(GPUS), help="whose peak it is")
    writing = kinds.add_parser("caption", help="captions a second")
    writing.add_argument("--size", default="full", help="of the captioner")
    writing.add_argument("--checkpoint", type=Path)
    writing.add_argument("--pictures", type=int, default=512)
    writing.add_argument("--max-tokens", type=int, default=TEXT_TOKENS)
    writing.add_argument("--batch-sizes", type=int, nargs="+", default=[64, 128, 256])
    writing.add_argument("--device", default="cuda")
    writing.add_argument("--precision", default="bf16")
    options = parser.parse_args()
    if options.kind == "train":
        print(json.dumps(train(options)))
    else:
        caption(options)


if __name__ == "__main__":
    main()
