"""A training step of our loop beside a bare forward, backward and step of the same model on the same batches.

    python benchmarks/train_step.py                       # a captioner of random weights of the size "small", on the processor or the GPU
    python benchmarks/train_step.py --size base --batch 32 --steps 40

Ours is transformers' Trainer with the release's samples (read, decoded and tokenized by one worker), our order, log, guard against
losses that are no numbers, and clipping. The bare step of a twin model has its batch ready in memory, clips, and steps with torch's fused
AdamW. They take turns step by step, so that what else the machine does meets both; the worker reads on meanwhile, so that a loader which is
too slow for the model would not show (benchmarks/loader.py measures it). Medians of the steps, by the clock and by this process's
computing, which on a processor tells more where other work shares the cores. Pictures are crops of photographs, captions are made up.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import polars as pl
import torch
from pictures import write_crops
from transformers import TrainerCallback

from captionlake.lake import Lake
from captionlake.lake.ingest import ingest
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.releases.config import ReleaseConfig
from captionlake.lake.releases.release import Draft, create_release
from captionlake.models.data import ReleaseData
from captionlake.models.training import DataConfig, ModelConfig, TrainConfig, TrainJob
from captionlake.models.training.arguments import placement_of
from captionlake.models.training.run import make_trainer, new_record
from captionlake.models.training.starting import start
from captionlake.placement import Placement

PICTURES = 64
WORDS = "a crop of a photograph with colours and shapes that nobody has described in any more detail than this "


class Turns(TrainerCallback):  # type: ignore[misc]
    """After each step of the Trainer's the bare step of a twin model on the same batch; the clock of each runs apart."""

    def __init__(self, model: Any, placement: Placement, batches: list[dict[str, torch.Tensor]]) -> None:
        self._model = model.to(placement.device).train()
        self._placement, self._batches = placement, batches
        self._optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5, weight_decay=0.0, fused=True)
        self._began = (0.0, 0.0)
        self.ours: list[tuple[float, float]] = []  # seconds of the clock, and of this process's computing
        self.bare: list[tuple[float, float]] = []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._began = self._now()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        ended = self._now()
        self._step(self._batches[state.global_step - 1])
        again = self._now()
        self.ours.append((ended[0] - self._began[0], ended[1] - self._began[1]))
        self.bare.append((again[0] - ended[0], again[1] - ended[1]))
        self._began = again

    def _step(self, batch: dict[str, torch.Tensor]) -> None:
        """The least that training takes."""
        with torch.autocast(self._placement.device, torch.bfloat16, enabled=self._placement.precision == "bf16"):
            loss = self._model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad()

    def _now(self) -> tuple[float, float]:
        if self._placement.on_gpu:
            torch.cuda.synchronize()
        return time.perf_counter(), time.process_time()


def make_lake(root: Path) -> None:
    """A release of captioned pictures."""
    write_crops(root / "pictures", PICTURES)
    rows = "".join(f"{n}.jpg,Picture {n}: {WORDS * 6}\n" for n in range(PICTURES))
    (root / "pictures" / "metadata.csv").write_text("file_name,caption\n" + rows)
    none = dict.fromkeys(("source", "source_key", "reason", "detail", "keeper_source", "keeper_key"), pl.String)
    with Lake.init(root / "lake") as lake:
        ingest(lake, IngestConfig(source="folder", inputs=[str(root / "pictures")], redistribute="bytes"))
        create_release(
            lake,
            Draft(
                config=ReleaseConfig(name="made", version="1.0.0"),
                recipe="",
                snapshot=lake.snapshot(),
                items=lake.arrow("SELECT source, source_key, image_id, 'train' AS split FROM images"),
                exclusions=pl.DataFrame(schema={**none, "similarity": pl.Float64}).to_arrow(),
                producers=["source"],
            ),
        )


def run(root: Path, options: argparse.Namespace) -> Turns:
    """A run of the Trainer, with the bare steps between its own."""
    job = TrainJob(
        stage="captioner",
        path=root / "recipe.toml",
        text="",
        lake=root / "lake",
        data=DataConfig(release="made@1.0.0"),
        model=ModelConfig(size=options.size),
        train=TrainConfig(
            output=str(root / "checkpoint"),
            batch_size=options.batch,
            per_device=options.batch,
            epochs=1000,
            max_steps=options.steps,
            gradient_checkpointing=False,
            save_every=100_000,
            workers=1,
        ),
        lora=None,
    )
    data, placement = ReleaseData.open(job.lake, job.data.release), placement_of(job.train)
    (model, processor), (twin, _) = start(job, data), start(job, data)
    for one in (model, twin):
        one.config.text_config.use_cache = False
    trainer, telling = make_trainer(job, data, model, processor, new_record(job, data, options.steps), placement)
    trainer.args.save_strategy = "no"  # saving a state is no part of a step
    order = list(trainer._get_train_sampler())
    batches = []
    for begin in range(0, len(order), options.batch):
        batch = trainer.data_collator([trainer.train_dataset[index] for index in order[begin : begin + options.batch]])
        batches.append({key: tensor.to(placement.device) for key, tensor in batch.items() if key != "positions"})
    turns = Turns(twin, placement, batches)
    trainer.add_callback(turns)
    trainer.train()
    telling.close()
    return turns


def main() -> None:
    parser = argparse.ArgumentParser(description="Seconds of a training step, ours and bare.")
    parser.add_argument("--size", default="small", help="of the captioner")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=60, help="the first ten are not counted")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_lake(Path(folder))
        turns = run(Path(folder), options)
    ours, bare = (
        [statistics.median(kind) for kind in zip(*times[10:], strict=True)] for times in (turns.ours, turns.bare)
    )
    found = {"batch": options.batch, "steps": options.steps}
    for name, own, least in zip(("clock", "cpu"), ours, bare, strict=True):
        found |= {
            f"ours_{name}_s": round(own, 5),
            f"bare_{name}_s": round(least, 5),
            f"ratio_{name}": round(own / least, 3),
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
