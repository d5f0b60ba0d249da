"""Training recipes: those of the paper, and what is wrong with others, all at once and by line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from captionlake.errors import CaptionlakeError
from captionlake.models.training import Stage
from captionlake.models.training.arguments import accumulation, all_steps, epoch_steps
from captionlake.recipe_file import RecipeError
from captionlake.train_recipe import load_train_recipe

RECIPES = Path(__file__).parents[3] / "recipes"


@pytest.mark.parametrize(
    ("stage", "samples", "batch_size", "steps", "trained"),
    [  # FACTS of the paper: pictures, batch, steps; 4,871 and 5,196 are those of the released files
        ("captioner", 102_025, 1024, 200, ("vision", "sampler", "projector", "language")),
        ("pretrain", 1_246_901, 256, 4_871, ("vision:12-", "projector", "language")),
        ("sft", 665_058, 128, 5_196, ("projector", "language")),
    ],
)
def test_the_papers(stage: Stage, samples: int, batch_size: int, steps: int, trained: tuple[str, ...]) -> None:
    job = load_train_recipe(RECIPES / f"train-{stage}.toml", stage)
    train = job.train
    assert (train.batch_size, train.lr, train.schedule, train.weight_decay) == (batch_size, 2e-5, "cosine", 0.0)
    assert (train.warmup_ratio, train.precision, train.gradient_checkpointing, train.fsdp) == (0.03, "bf16", True, True)
    assert job.trained == trained and job.data.max_length == 2048
    assert all_steps(train, samples) == steps
    assert accumulation(train, 16) == {"captioner": 4, "pretrain": 1, "sft": 1}[stage]
    assert job.grouped == (stage == "sft")
    assert (job.output.name, job.output.parent.name) == (
        {"captioner": "captioner", "pretrain": "pretrain", "sft": "sharegpt4v-7b"}[stage],
        "checkpoints",
    )


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"data": {"release": "tiles"}}, "write NAME@VERSION"),
        ({"data": {"release": "Tiles@1.0.0"}}, "lower-case"),
        ({"data": {"max_length": 0}}, "`max_length` in [data]"),
        ({"model": {"size": None}}, "give `start`, or `size`"),
        ({"model": {"start": "somewhere"}}, "leave one out"),
        ({"model": {"trained": ["head"]}}, '"head" is no part of a model'),
        ({"model": {"trained": []}}, "is empty"),
        ({"model": {"image_size": 448}}, "no setting of train pretrain"),
        ({"train": {"lr": 0}}, "`lr` in [train]"),
        ({"train": {"learning_rate": 1e-3}}, "unknown key `learning_rate` in [train]"),
        ({"train": {"batch_size": 10}}, "take 8"),
        ({"train": {"log_every": 2, "save_every": 3}}, "take 4"),
        ({"train": {"precision": "fp16"}}, "`precision` in [train]"),
        ({"train": {"output": None}}, "missing key `output` in [train]"),
        ({"lora": {"rank": 0}}, "`rank` in [lora]"),
        ({"lora": {"targets": []}}, "`targets` in [lora]"),
    ],
)
def test_what_is_wrong(changes: dict, problem: str, recipe: Callable[..., Path]) -> None:
    with pytest.raises(RecipeError) as error:
        load_train_recipe(recipe(**changes), "pretrain")
    assert len(error.value.problems) == 1, error.value.problems
    assert problem in error.value.problems[0] and error.value.problems[0].startswith("line ")


def test_all_problems_at_once(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(
        'lake = "lake"\n[data]\nrelease = "x"\n[modell]\nsize = "tiny"\n[train]\nepochs = 0\noutput = "o"\n'
    )
    with pytest.raises(RecipeError) as error:
        load_train_recipe(path, "sft")
    assert [problem.split(":")[0] for problem in error.value.problems] == ["line 3", "line 4", "line 7"]
    assert "did you mean `model`?" in error.value.problems[1]


def test_places_are_from_the_recipes_folder(recipe: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    path = recipe(model={"size": None, "vision": "here", "language": "OWNER/NAME", "projector": "a/b/c.bin"})
    model = load_train_recipe(path, "pretrain").model
    assert (model.vision, model.language) == (str(tmp_path / "here"), "OWNER/NAME")
    assert model.projector == str(tmp_path / "a/b/c.bin")  # no name on the Hub has two slashes


def test_a_step_is_a_whole_number_of_micro_batches(recipe: Callable[..., Path]) -> None:
    train = load_train_recipe(recipe(train={"batch_size": 24, "per_device": 4}), "pretrain").train
    assert [accumulation(train, processes) for processes in (1, 2, 3, 6)] == [6, 3, 2, 1]
    with pytest.raises(CaptionlakeError, match=r"4 x 4 = 16: take batch_size = 32"):
        accumulation(train, 4)
    with pytest.raises(CaptionlakeError, match="more than the 23 samples"):
        epoch_steps(train, 23)
    assert epoch_steps(train, 25) == 2


def test_another_run_is_told_by_what_differs(recipe: Callable[..., Path]) -> None:
    job = load_train_recipe(recipe(), "pretrain")
    same = recipe(train={"per_device": 2, "log_every": 2, "save_every": 4, "workers": 1, "keep": 5})
    assert load_train_recipe(same, "pretrain").change_from(job.hyper()) is None
    other = load_train_recipe(recipe(train={"lr": 2e-3}), "pretrain")
    assert other.change_from(job.hyper()) == "`lr` in [train] is 0.002 and was 0.001"
    adapted = load_train_recipe(recipe(lora={}), "pretrain")
    assert adapted.change_from(job.hyper()) == "[lora] is new"
    assert job.change_from(adapted.hyper()) == "[lora] is not there any more"
