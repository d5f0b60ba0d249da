"""What an evaluation found: as JSON, and as a table beside the paper's rows."""

import json
import platform
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

from captionlake.errors import CaptionlakeError
from captionlake.lake.durable import replace_text
from captionlake.lake.options import printable, table
from captionlake.models.captions.key import canonical
from captionlake.models.evaluation.answering import Unseen
from captionlake.models.evaluation.benchmark import Benchmark, Item, Kind, Score
from captionlake.models.evaluation.eval_config import EvalConfig
from captionlake.models.evaluation.files import hashes
from captionlake.models.running.folder import CheckpointFolder
from captionlake.placement import Placement

COLUMNS = ("MME-P", "MME-C", "MMB", "MMB-CN", "SEED-I", "MM-Vet", "LLaVA-W", "POPE")
_ALSO = ("SEED", "POPE-lake")  # shown where they were run
_NAMED = 20
NOT_RUN = "–"


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """One benchmark. ``incomplete`` says in words why the score is not that of the whole benchmark; ``missing`` and ``unparsed`` name the
    first twenty of those that ``counts`` counts. ``hashes``: of its files, of the questions and of the pictures that were asked about."""

    benchmark: str
    scores: dict[str, float | None]
    parts: dict[str, float]
    counts: dict[str, int]
    incomplete: tuple[str, ...]
    missing: tuple[str, ...]
    unparsed: tuple[str, ...]
    max_tokens: int
    hashes: dict[str, Any]


def outcome(
    kind: Kind,
    benchmark: Benchmark,
    score: Score,
    *,
    items: Sequence[Item],
    max_tokens: int,
    unseen: Sequence[Unseen],
    pictures: Sequence[str],
    judged: tuple[int, dict[str, str], str] | None,
) -> Outcome:
    """``pictures``: hashes of those that were asked about. ``judged``: how many judgements came, why others did not, the prompt's hash."""
    counts = {"questions": len(benchmark.items), "asked": len(pictures), "missing_pictures": len(unseen)}
    incomplete = [*benchmark.incomplete, *score.incomplete]
    if len(items) < len(benchmark.items):
        incomplete.append(f"partial: {len(items):,} of {len(benchmark.items):,} questions")
    if unseen:
        incomplete.append(f"{len(unseen):,} questions were not asked: their pictures are missing or do not decode")
    found: dict[str, Any] = {
        "files": hashes(benchmark.files),
        "questions": _sha256([asdict(item) for item in items]),
        "pictures": _sha256(list(pictures)),
    }
    if kind.judge is None:
        counts["unparsed_answers"] = len(score.unparsed)
    elif judged is None:
        incomplete.append("no judge was given: the answers are kept and wait for one")
    else:
        came, failed, prompt = judged
        counts |= {"judged": came, "failed_judgements": len(failed), "unparsed_judgements": len(score.unparsed)}
        found["judge_prompt"] = prompt
        if failed:
            incomplete.append(f"{len(failed):,} judgements did not come ({next(iter(failed.values()))})")
        if score.unparsed:
            incomplete.append(f"{len(score.unparsed):,} judgements could not be parsed and are in no mean")
    return Outcome(
        benchmark=kind.name,
        scores=score.columns,
        parts=score.parts,
        counts=counts,
        incomplete=tuple(incomplete),
        missing=tuple(f"{one.item.id} ({one.item.picture}): {one.why}" for one in unseen[:_NAMED]),
        unparsed=score.unparsed[:_NAMED],
        max_tokens=max_tokens,
        hashes=found,
    )


@dataclass(kw_only=True, slots=True)
class Results:
    """Of one checkpoint: its name, the hash of its weights and its record; how it answered; who judged."""

    checkpoint: str
    weights_sha256: str
    record: dict[str, Any] | None
    generation: dict[str, Any]
    judge: dict[str, Any] | None
    versions: dict[str, str]
    created_at: str
    outcomes: list[Outcome] = field(default_factory=list)

    @classmethod
    def of(cls, name: str, folder: CheckpointFolder, placement: Placement, config: EvalConfig) -> Self:
        """Without outcomes yet."""
        judge = config.judge
        packages = {name: version(name) for name in ("captionlake", "torch", "transformers")}
        return cls(
            checkpoint=name,
            weights_sha256=folder.sha256,
            record=None if folder.record is None else asdict(folder.record),
            generation={
                "sampling": "greedy",
                "precision": placement.precision,
                "device": placement.device,
                "batch_size": config.batch_size,
                "limit": config.limit,
                "seed": config.seed,
            },
            judge=None if judge is None else {"model": judge.model, "base_url": judge.base_url, **judge.params()},
            versions=packages | {"python": platform.python_version()},
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    @classmethod
    def read(cls, path: Path) -> Self:
        """From the JSON that ``write`` wrote."""
        from pydantic import TypeAdapter, ValidationError

        try:
            return TypeAdapter(cls).validate_json(path.read_bytes())
        except OSError as error:
            raise CaptionlakeError(
                f"{path} cannot be read ({error.strerror}): name what captionlake eval wrote"
            ) from error
        except ValidationError as error:
            raise CaptionlakeError(
                f"{path} holds no results of captionlake eval: name what it wrote with -o"
            ) from error

    def data(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    def write(self, path: Path) -> None:
        """Whole, or as it was before."""
        replace_text(path, json.dumps(self.data(), ensure_ascii=False, indent=2) + "\n")

    def text(self) -> str:
        """The table, ours in the first row, and below it what must be known of the scores: a star marks those that are not of the whole."""
        ours: dict[str, str] = {}
        for one in self.outcomes:
            star = "*" if one.incomplete else ""
            ours |= {name: f"{value:.1f}{star}" for name, value in one.scores.items() if value is not None}
        columns = [*COLUMNS, *(name for name in _ALSO if name in ours)]
        rows: list[list[object]] = [[self.checkpoint, *(ours.get(name, NOT_RUN) for name in columns)]]
        for name, scores in paper_rows():
            rows.append([name, *(f"{scores[column]:.1f}" if column in scores else NOT_RUN for column in columns)])
        return "\n".join([table(["", *columns], rows), *map(printable, self._notes())])

    def _notes(self) -> list[str]:
        notes = []
        for one in self.outcomes:
            notes += [f"* {one.benchmark}: {why}" for why in one.incomplete]
            if one.missing:
                notes.append(
                    f"  {one.benchmark}: {one.missing[0]}{', …' if one.counts['missing_pictures'] > 1 else ''}"
                )
            if unparsed := one.counts.get("unparsed_answers"):
                notes.append(
                    f"  {one.benchmark}: {unparsed:,} of {one.counts['asked']:,} answers could not be parsed and count as wrong"
                )
        return notes


@cache
def paper_rows() -> list[tuple[str, dict[str, float]]]:
    """Name and scores of the paper's rows."""
    told = tomllib.loads(files("captionlake.models.evaluation").joinpath("paper.toml").read_text(encoding="utf-8"))
    return [(row["name"], row["scores"]) for row in told["row"]]


def _sha256(value: object) -> str:
    return sha256(canonical(value).encode()).hexdigest()
