"""MM-Vet: free answers, scored by a judge from 0 to 1.

Yu et al., MM-Vet: Evaluating Large Multimodal Models for Integrated Capabilities (2023). ``mm-vet.json`` is an object of samples by
id with ``imagename``, ``question``, ``answer`` and ``capability`` (rec, ocr, know, gen, spat, math); the pictures are in ``images``.
"""

from collections.abc import Sequence
from pathlib import Path

from captionlake.errors import CaptionlakeError
from captionlake.lake.benchmarks import PictureFiles, files_with
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
from captionlake.models.evaluation.extraction import score_between
from captionlake.models.evaluation.files import field, folder, json_document, only, text, with_pictures
from captionlake.models.evaluation.judge_prompt import judge_prompt


def read(path: Path) -> Benchmark:
    """A folder with ``mm-vet.json`` and the pictures."""
    root = folder(path, "mm-vet.json and its pictures")
    file = only(files_with(root, ".json", '"imagename"'), root, "mm-vet.json")
    samples = json_document(file)
    if not isinstance(samples, dict):
        raise CaptionlakeError(f"{file} is no object of samples: give MM-Vet's own file")
    items = []
    for key, sample in samples.items():
        where = f"{file}, {key},"
        row = sample if isinstance(sample, dict) else {}
        question = text(row, "question", where)
        tags = tuple(str(each) for each in field(row, "capability", list, where))
        items.append(
            Item(
                id=key,
                text=question,
                picture=text(row, "imagename", where),
                answer=text(row, "answer", where),
                unit=key,
                tags=tags,
                question=question,
            )
        )
    found = of_one_name_each(items, file)
    return Benchmark(items=found, pictures=with_pictures(PictureFiles(root), found, root), files=(file,))


def parse(reply: str) -> tuple[float, ...] | None:
    """The one score of a judgement."""
    found = score_between(reply, 0.0, 1.0)
    return None if found is None else (found,)


def judge() -> JudgePrompt:
    """Question, key and answer; ``<AND>`` and ``<OR>`` of the key are explained to the judge."""
    return judge_prompt(
        "mm-vet", parse, lambda item, answer: {"question": item.question, "key": item.answer, "answer": answer}
    )


def score(answers: Sequence[Answered]) -> Score:
    """100 x the mean of the judge's scores, of all samples and of those that need a capability. A sample
    whose judgement cannot be parsed is in no mean."""
    found, unparsed = judged(answers, parse)
    by_tag: dict[str, list[float]] = {}
    for item, (value,) in found:
        for tag in item.tags:
            by_tag.setdefault(tag, []).append(100 * value)
    parts = known({tag: mean(own) for tag, own in sorted(by_tag.items())})
    return Score(columns={"MM-Vet": mean([100 * value for _, (value,) in found])}, parts=parts, unparsed=unparsed)
