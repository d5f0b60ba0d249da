"""LLaVA-Bench (In-the-Wild): free answers, set by a judge beside those that GPT-4 wrote from a description of the picture.

Liu et al., Visual Instruction Tuning (2023). ``questions.jsonl`` (``question_id``, ``image``, ``text``, ``category``: conv, detail,
complex), ``context.jsonl`` (``image``, ``caption``), ``answers_gpt4.jsonl`` (``question_id``, ``text``), and the pictures in ``images``.
"""

from collections.abc import Sequence
from pathlib import Path

from captionlake.errors import CaptionlakeError
from captionlake.lake.benchmarks import PictureFiles
from captionlake.models.evaluation.benchmark import (
    Answered,
    Benchmark,
    Item,
    JudgePrompt,
    Score,
    judged,
    known,
    mean,
    of_one_name_each,
)
from captionlake.models.evaluation.extraction import two_scores
from captionlake.models.evaluation.files import folder, json_lines, text, with_pictures
from captionlake.models.evaluation.judge_prompt import judge_prompt

FILES = ("questions.jsonl", "context.jsonl", "answers_gpt4.jsonl")


def read(path: Path) -> Benchmark:
    """A folder with the three lists and the pictures."""
    root = folder(path, f"{', '.join(FILES)} and the pictures")
    files = [root / name for name in FILES]
    lacking = [file.name for file in files if not file.is_file()]
    if lacking:
        raise CaptionlakeError(f"{root} has no {', '.join(lacking)}: put all files of LLaVA-Bench into it")
    questions, context_file, references_file = files
    contexts = {text(row, "image", f"{context_file}, line {line},"): row for line, row in json_lines(context_file)}
    references = {
        text(row, "question_id", f"{references_file}, line {line},"): row for line, row in json_lines(references_file)
    }
    items = []
    for line, row in json_lines(questions):
        where = f"{questions}, line {line},"
        known_as, picture, asked = (text(row, name, where) for name in ("question_id", "image", "text"))
        if known_as not in references or picture not in contexts:
            lacks = references_file if known_as not in references else context_file
            raise CaptionlakeError(f"{lacks} has nothing of question {known_as}: download it again")
        items.append(
            Item(
                id=known_as,
                text=asked,
                picture=picture,
                answer=text(references[known_as], "text", f"{references_file}, question {known_as},"),
                unit=known_as,
                group=text(row, "category", where).removeprefix("llava_bench_"),
                question=asked,
                context=text(contexts[picture], "caption", f"{context_file}, {picture},"),
            )
        )
    found = of_one_name_each(items, questions)
    return Benchmark(items=found, pictures=with_pictures(PictureFiles(root), found, root), files=tuple(files))


def parse(reply: str) -> tuple[float, ...] | None:
    """The reference's score and the answer's."""
    return two_scores(reply, 1.0, 10.0)


def judge() -> JudgePrompt:
    """The description, the question, the reference first and the answer second."""
    return judge_prompt(
        "llava-w",
        parse,
        lambda item, answer: {
            "description": item.context,
            "question": item.question,
            "first": item.answer,
            "second": answer,
        },
    )


def score(answers: Sequence[Answered]) -> Score:
    """100 x mean score of the answers / mean score of the references, of all questions and of each category (LLaVA,
    ``summarize_gpt_review.py``). A judgement that cannot be parsed is in no mean; there it counts as -1."""
    found, unparsed = judged(answers, parse)
    pairs: dict[str, list[tuple[float, ...]]] = {"all": [pair for _, pair in found]}
    for item, pair in found:
        pairs.setdefault(item.group, []).append(pair)
    parts = known({group: _relative(own) for group, own in pairs.items()})
    whole = parts.pop("all", None)
    return Score(columns={"LLaVA-W": whole}, parts=parts, unparsed=unparsed)


def _relative(pairs: Sequence[tuple[float, ...]]) -> float | None:
    references, answers = mean([pair[0] for pair in pairs]), mean([pair[1] for pair in pairs])
    return None if references is None or answers is None else 100 * answers / references
