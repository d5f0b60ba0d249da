"""``evaluate``: a checkpoint's scores. Answers and judgements are kept as they come, so that a run that was killed repeats none."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path

from captionlake.errors import CaptionlakeError
from captionlake.lake.progress import progress
from captionlake.models.evaluation.answering import (
    Answers,
    KeptLines,
    Question,
    Unseen,
    answer_key,
    batches,
    kept_lines,
)
from captionlake.models.evaluation.benchmark import Answered, Benchmark, Item, Kind
from captionlake.models.evaluation.eval_config import EvalConfig
from captionlake.models.evaluation.judge import Judge
from captionlake.models.evaluation.known import kinds
from captionlake.models.evaluation.results import Outcome, Results, outcome
from captionlake.models.running.folder import CheckpointFolder
from captionlake.models.running.generation import GenerationConfig
from captionlake.placement import Placement, place


class EvaluationError(CaptionlakeError):
    """All that is wrong with the benchmarks' files; ``lines`` has each problem."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.lines = list(problems)
        super().__init__("; ".join(self.lines))


def evaluate(checkpoint: str | Path, config: EvalConfig, output: Path) -> Results:
    """Answer, judge and score each benchmark; ``output`` is the JSON of the results, written anew after each of them.

    Answers and judgements are kept in the folder beside it, ``NAME.kept``. Raises, before any weights are loaded, where the checkpoint or
    the files of a benchmark are not whole.
    """
    folder = CheckpointFolder.find(checkpoint)
    judge = Judge(config.judge) if config.judge is not None else None
    if judge is not None:
        judge.check()
    with _opened(config) as opened:
        model = _Model(folder, config)
        name = folder.name if Path(checkpoint).is_dir() else str(checkpoint)
        results = Results.of(name, folder, model.placement, config)
        kept = output.parent / f"{output.stem}.kept"
        for kind, benchmark in opened:
            results.outcomes.append(_evaluated(kind, benchmark, model, judge, kept, config))
            results.write(output)
    return results


@contextmanager
def _opened(config: EvalConfig) -> Iterator[list[tuple[Kind, Benchmark]]]:
    """All benchmarks read, or all problems with them told at once."""
    known, problems, opened = kinds(config.seed), [], []
    with ExitStack() as stack:
        for name, path in config.benchmarks.items():
            if name not in known:
                raise CaptionlakeError(f"no benchmark is named {name!r}: take one of {', '.join(known)}")
            try:
                benchmark = known[name].read(path)
            except CaptionlakeError as error:
                problems.append(f"{name}: {error}")
            else:
                stack.callback(benchmark.pictures.close)
                opened.append((known[name], benchmark))
        if problems:
            raise EvaluationError(problems)
        yield opened


class _Model:
    """The checkpoint, loaded when the first question needs it: a run that only judges needs no GPU."""

    def __init__(self, folder: CheckpointFolder, config: EvalConfig) -> None:
        self._folder = folder
        self._config = config
        self.placement: Placement = place(config.device, config.precision, extra="models")

    def how(self, max_tokens: int) -> Mapping[str, object]:
        """What decides an answer beside the question."""
        return GenerationConfig(max_tokens=max_tokens).params(self.placement.precision, self._folder.sha256)

    @cached_property
    def answers(self) -> Answers:
        """Loads the weights."""
        from captionlake.models.evaluation.checkpoint_answers import CheckpointAnswers
        from captionlake.models.running.loading import Checkpoint

        loaded = Checkpoint.load(self._folder, device=self.placement.device, precision=self.placement.precision)
        return CheckpointAnswers(loaded, self._config.batch_size)


def _evaluated(
    kind: Kind, benchmark: Benchmark, model: _Model, judge: Judge | None, kept: Path, config: EvalConfig
) -> Outcome:
    items = limited(benchmark, config.limit)
    tokens = min(kind.max_tokens, config.max_tokens or kind.max_tokens)
    how = model.how(tokens)
    with kept_lines(kept / "answers" / f"{kind.name}.jsonl") as lines:
        unseen = _answer(kind, benchmark, items, model, how, tokens, lines)
        lines_of = {item.id: line for item in items if (line := lines.found.get(answer_key(item, how))) is not None}
    there = [item for item in items if item.id in lines_of]
    replies: dict[str, str] = {}
    failed: dict[str, str] = {}
    prompt = kind.judge() if kind.judge is not None else None
    if prompt is not None and judge is not None:
        texts = [(item, lines_of[item.id]["text"]) for item in there]
        with (
            kept_lines(kept / "judgements" / f"{kind.name}.jsonl") as judgements,
            progress(f"judge {kind.name}", len(texts)) as advance,
        ):
            judged = judge.judge(texts, prompt, judgements, advance)
        replies, failed = judged.replies, judged.failed
    answered = [Answered(item, lines_of[item.id]["text"], replies.get(item.id)) for item in there]
    return outcome(
        kind,
        benchmark,
        kind.score(answered),
        items=items,
        max_tokens=tokens,
        unseen=unseen,
        pictures=[lines_of[item.id]["picture_sha256"] for item in there],
        judged=None if judge is None or prompt is None else (len(replies), failed, prompt.sha256),
    )


def _answer(
    kind: Kind,
    benchmark: Benchmark,
    items: Sequence[Item],
    model: _Model,
    how: Mapping[str, object],
    max_tokens: int,
    lines: KeptLines,
) -> list[Unseen]:
    """Answer what is not kept yet. Returns the items that could not be asked."""
    pending = [item for item in items if answer_key(item, how) not in lines.found]
    unseen: list[Unseen] = []
    if not pending:
        return unseen
    answers = model.answers
    with progress(f"answer {kind.name}", len(pending)) as advance:
        for seen, missing in batches(benchmark, pending, lambda: answers.batch_size):
            unseen += missing
            questions = [Question(item.id, item.text, image) for item, _, image in seen]
            texts = answers.answer(questions, max_tokens) if questions else []
            lines.add(
                [
                    {"key": answer_key(item, how), "item": item.id, "text": text, "picture_sha256": picture}
                    for (item, picture, _), text in zip(seen, texts, strict=True)
                ]
            )
            advance(len(seen) + len(missing))
    return unseen


def limited(benchmark: Benchmark, limit: int | None) -> list[Item]:
    """The items of ``limit`` units, spread evenly; all of them without one."""
    units = list(benchmark.units())
    if limit is not None and limit < len(units):
        units = [units[number * len(units) // limit] for number in range(limit)]
    return [item for unit in units for item in unit]
