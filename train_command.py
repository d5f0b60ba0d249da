"""``captionlake train``."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from captionlake.errors import require
from captionlake.lake.options import emit, json_option, table
from captionlake.models.training.gpus import GPUS
from captionlake.models.training.stages import STAGES, Stage

if TYPE_CHECKING:
    from captionlake.models.training.plan import Plan
    from captionlake.models.training.run import TrainReport


@click.command()
@click.argument("stage", type=click.Choice(STAGES))
@click.argument("recipe", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--plan", "planned", is_flag=True, help="Only tell parameters, steps, memory and hours; no weights are loaded."
)
@click.option("--gpus", type=click.IntRange(min=1), default=1, show_default=True, help="With --plan: GPUs to train on.")
@click.option(
    "--gpu", type=click.Choice(tuple(GPUS)), default="h100", show_default=True, help="With --plan: their kind."
)
@click.option(
    "--utilisation",
    type=click.FloatRange(min=0, max=1, min_open=True),
    default=0.25,
    show_default=True,
    help="With --plan: the part of a GPU's peak that is reached.",
)
@click.option("--restart", is_flag=True, help="Begin anew: the output's states of an earlier run are removed.")
@json_option
def train(
    stage: Stage, recipe: Path, planned: bool, gpus: int, gpu: str, utilisation: float, restart: bool, as_json: bool
) -> None:
    """Train the model that RECIPE describes: a captioner, or an LMM's pre-training or fine-tuning (sft).

    Run it again after an interruption: it goes on from the newest whole state, on the same curve. On several GPUs:
    torchrun --nproc_per_node GPUS -m captionlake train STAGE RECIPE
    """
    from captionlake.train_recipe import load_train_recipe

    job = load_train_recipe(recipe, stage)
    for module in ("torch", "transformers", "accelerate"):
        require(module, extra="train")
    if planned:
        from captionlake.models.training.plan import plan

        made = plan(job, gpus=gpus, gpu=gpu, utilisation=utilisation)
        emit(as_json, asdict(made), _plan_text(made))
        return
    from captionlake.models.training.run import train as run

    report = run(job, restart=restart)
    if os.environ.get("RANK", "0") == "0":
        emit(as_json, asdict(report), _text(report))


def _text(report: "TrainReport") -> str:
    if not report.new:
        return f"{report.output} is finished: {report.steps:,} steps on {report.release}; --restart trains it anew"
    lines = [
        f"checkpoint: {report.output}",
        f"release: {report.release}, content {report.content_sha256[:12]}",
        f"steps: {report.steps:,}, {report.samples:,} samples, {report.seconds:,.0f} s"
        + ("" if report.resumed_at is None else f" since step {report.resumed_at:,}"),
        f"parameters: {report.trained:,} trained of {report.parameters:,}",
    ]
    if report.loss is not None:
        lines.append(f"loss: {report.loss[0]:.4f} at first, {report.loss[1]:.4f} at last (log.csv, loss.png)")
    if report.skipped:
        named = ", ".join(f"{reason} {count:,}" for reason, count in sorted(report.skipped.items()))
        lines.append(f"skipped samples: {named} (skipped.jsonl)")
    return "\n".join(lines)


def _plan_text(made: "Plan") -> str:
    parts: list[list[object]] = [[part.name, part.parameters, part.trained] for part in made.parts]
    parts.append(["total", made.parameters, made.trained])
    memory: list[list[object]] = [[name, f"{gib:,.1f}"] for name, gib in made.memory_gib.items()]
    return "\n\n".join(
        [
            table(["part", "parameters", "trained"], parts),
            table(["memory of a GPU", "GiB"], [*memory, ["total", f"{sum(made.memory_gib.values()):,.1f}"]]),
            "\n".join(
                [
                    f"samples: {made.samples:,} of {made.release}, {made.epochs} epochs, {made.steps:,} steps of {made.batch_size}",
                    f"a step: {made.gpus} GPUs x {made.per_device} samples x {made.accumulation} micro-batches",
                    f"tokens of a sample: {made.text_tokens:,.0f} of text ({made.tokens_from}) + {made.image_tokens:,} of its picture",
                    f"computing: {made.pflop_per_step:,.2f} PFLOP a step, {made.exaflop:,.3g} EFLOP in all",
                    f"estimated: {made.hours:,.2f} hours on {made.gpus} x {made.gpu} at {made.utilisation:.0%} of their peak",
                    *made.warnings,
                ]
            ),
        ]
    )
