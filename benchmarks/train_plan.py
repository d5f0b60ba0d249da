"""The plans of the paper's three trainings beside the hours that the paper tells.

    python benchmarks/train_plan.py

Samples are those of the released files; tokens of text are their mean characters (FACTS of the paper: 942 of the teacher's captions, 826
of the captioner's) by four characters a token. Conversations of the mix have 300 tokens here, which is a guess.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from captionlake.models.training.job import Family, Stage
from captionlake.models.training.plan import plan_for
from captionlake.train_recipe import load_train_recipe

RECIPES = Path(__file__).parents[1] / "recipes"
GUESSED = 300.0
# Models of the same shapes, for which no checkpoint needs to be there.
LMM = {"start": None, "vision": "openai/clip-vit-large-patch14-336", "language": "lmsys/vicuna-7b-v1.5"}
SAME_SHAPE: dict[Family, dict[str, Any]] = {"captioner": {"vision": None, "language": None}, "lmm": LMM}


def main() -> None:
    print(
        "| training | samples | tokens of text and picture | steps | trained of parameters | GiB a GPU | EFLOP | hours "
        "| the paper's hours |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    rows: list[tuple[Stage, int, float, float]] = [
        ("captioner", 102_025, 942 / 4, 3),
        ("pretrain", 1_246_901, 826 / 4, 12),
        ("sft", 665_058, GUESSED, 7),
    ]
    for stage, samples, tokens, hours in rows:
        job = load_train_recipe(RECIPES / f"train-{stage}.toml", stage)
        job = replace(job, model=replace(job.model, **SAME_SHAPE[job.family]))
        made = plan_for(job, samples=samples, tokens=tokens, gpus=16, gpu="a100-80g", utilisation=0.25)
        print(
            f"| {stage} | {samples:,} x {made.epochs} | {tokens:.0f} + {made.image_tokens} | {made.steps:,} | "
            f"{made.trained / 1e9:.2f} of {made.parameters / 1e9:.2f} billion | {sum(made.memory_gib.values()):.1f} | "
            f"{made.exaflop:.1f} | {made.hours:.1f} | {hours} |"
        )


if __name__ == "__main__":
    main()
