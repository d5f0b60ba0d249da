"""A checkpoint's facts: each with the file and key, or the query, that it comes from, so that anyone can look again.

Of files: those of the checkpoint's folder by their names there, a results file by its name and SHA-256, a checkpoint that stands beside as
``../NAME/…``. Queries are asked of the lake (``captionlake sql "…"``).
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from captionlake.cards.facts import FACTS_FILE
from captionlake.cards.model_chain import ancestry, of_lake
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.models.checkpoint import RECORD
from captionlake.models.evaluation.results import COLUMNS, Results, paper_rows
from captionlake.models.part_names import part_of
from captionlake.models.running.folder import CheckpointFolder
from captionlake.models.training.log_file import LOG, read_log
from captionlake.models.training.states import SKIPS

FORMAT = 1
_RESULTS = "results*.json"
_ADAPTER = "adapter/adapter_config.json"
_APART = ("hyper", "versions", "recipe")  # facts of their own
# Of config.json, by table ("" for its top): what says how large a model is. It leaves out what is its class's default.
_SIZES = {
    "vision_config": ("model_type", "image_size", "patch_size", "hidden_size", "num_hidden_layers", "num_attention_heads"),
    "": ("image_seq_length", "num_queries", "sampler_width", "sampler_heads"),
    "text_config": ("model_type", "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings"),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFact:
    """``source`` has ``file`` and ``key``, or ``query``, or ``option``. ``value`` is JSON's; of a query, a dictionary a row."""

    name: str
    source: dict[str, str]
    value: Any


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """All facts of one checkpoint, by name."""

    checkpoint: str
    facts: dict[str, ModelFact]

    def __getitem__(self, name: str) -> Any:
        return self.facts[name].value

    def get(self, name: str) -> Any:
        """The value, or None where there is no such fact."""
        return self.facts[name].value if name in self.facts else None

    def named(self, start: str) -> dict[str, Any]:
        """The values of all facts ``START:REST``, by REST."""
        return {
            name.removeprefix(f"{start}:"): f.value for name, f in self.facts.items() if name.startswith(f"{start}:")
        }

    def __len__(self) -> int:
        return len(self.facts)

    def to_json(self) -> str:
        """The text of facts.json: the same for the same facts."""
        head = {"format": FORMAT, "checkpoint": self.checkpoint}
        facts = [asdict(fact) for fact in self.facts.values()]
        return json.dumps(head | {"facts": facts}, ensure_ascii=False, indent=1) + "\n"


def collect(
    folder: CheckpointFolder, *, results: Sequence[Path] = (), lake: Lake | None = None, licence: str | None = None
) -> ModelFacts:
    """Every fact that can be had. ``results``: without any, those that lie in the checkpoint's folder as ``results*.json``.

    Raises where results are of other weights, or the lake's release is another than the record's.
    """
    found = [*_model(folder), *_training(folder)]
    found += [ModelFact(name=f"start:{name}", source=source, value=value) for name, source, value in ancestry(folder)]
    found += _evaluation(folder, results or sorted(folder.path.glob(_RESULTS)))
    if lake is not None and folder.record is not None:
        asked = of_lake(lake, folder, folder.record)
        found += [ModelFact(name=one.name, source={"query": one.query}, value=one.rows) for one in asked]
    if licence is not None:
        found.append(ModelFact(name="licence", source={"option": "--license"}, value=licence))
    return ModelFacts(folder.name, {fact.name: fact for fact in found})


def _model(folder: CheckpointFolder) -> Iterator[ModelFact]:
    config = folder.config
    yield ModelFact(
        name="architecture",
        source={"file": "config.json", "key": "architectures, model_type"},
        value={"class": folder.architecture, "model_type": config["model_type"]},
    )
    sizes = [
        {"key": f"{table}.{key}".removeprefix("."), "value": value}
        for table, keys in _SIZES.items()
        if isinstance(told := config.get(table) if table else config, dict)
        for key in keys
        if isinstance(value := told.get(key), int | str)
    ]
    source = {"file": "config.json", "key": ", ".join(str(size["key"]) for size in sizes)}
    yield ModelFact(name="sizes", source=source, value=sizes)
    parts: dict[str, dict[str, Any]] = {}
    for one in folder.tensors():
        part = part_of(str(config["model_type"]), one.name) or "other"
        row = parts.setdefault(part, {"part": part, "parameters": 0, "tensors": 0, "dtypes": []})
        row["parameters"] += one.size
        row["tensors"] += 1
        if one.dtype not in row["dtypes"]:
            row["dtypes"].append(one.dtype)
    files = ", ".join(path.name for path in folder.weights[:2]) + (", …" if len(folder.weights) > 2 else "")
    source = {"file": files, "key": "header: shape and dtype of each tensor"}
    yield ModelFact(name="parts", source=source, value=[parts[name] for name in sorted(parts)])
    total = {
        "parameters": sum(part["parameters"] for part in parts.values()),
        "bytes": sum(path.stat().st_size for path in folder.weights),
        "files": len(folder.weights),
        "sha256": folder.sha256,
    }
    yield ModelFact(
        name="weights", source={"file": files, "key": "headers, sizes; SHA-256 over each file's own"}, value=total
    )


def _training(folder: CheckpointFolder) -> Iterator[ModelFact]:
    if folder.record is not None:
        record = asdict(folder.record)
        told = {key: value for key, value in record.items() if key not in _APART}
        yield ModelFact(name="record", source={"file": RECORD, "key": ", ".join(told)}, value=told)
        for key in _APART:
            yield ModelFact(name=key, source={"file": RECORD, "key": key}, value=record[key])
    if lines := read_log(folder.path / LOG):
        columns = {name: [getattr(line, name) for line in lines] for name in ("step", "loss", "samples_per_s")}
        told = {
            "lines": len(lines),
            "steps": (columns["step"][0], columns["step"][-1]),
            "loss": (columns["loss"][0], columns["loss"][-1]),
            "lowest_loss": min(columns["loss"]),
            "median_samples_per_s": median(columns["samples_per_s"]),
        }
        yield ModelFact(name="log", source={"file": LOG, "key": ", ".join(columns)}, value=_plain(told))
    if (path := folder.path / SKIPS).is_file():
        from captionlake.models.data import SkipLog

        counts = dict(sorted(SkipLog(path).counts().items()))
        yield ModelFact(name="skipped", source={"file": SKIPS, "key": "reason, once a position"}, value=counts)
    if (path := folder.path / _ADAPTER).is_file():
        told = _object(path)
        value = {key: told.get(key) for key in ("r", "lora_alpha")}
        yield ModelFact(name="adapter", source={"file": _ADAPTER, "key": "r, lora_alpha"}, value=value)


def _evaluation(folder: CheckpointFolder, paths: Sequence[Path]) -> Iterator[ModelFact]:
    """One fact a benchmark, from the results that have all of it, else from the newest."""
    best: dict[str, tuple[tuple[bool, str], ModelFact]] = {}
    for path in paths:
        results = Results.read(path)
        if results.weights_sha256 != folder.sha256:
            raise CaptionlakeError(
                f"{path} has the results of other weights ({results.checkpoint}, {results.weights_sha256[:12]}), not of {folder.path}: "
                "evaluate this checkpoint, or move the file away"
            )
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        how = {"generation": results.generation, "versions": results.versions, "created_at": results.created_at}
        judge = {
            key: value for key, value in (results.judge or {}).items() if key != "base_url"
        }  # may be no public address
        for number, one in enumerate(results.outcomes):
            told = {key: value for key, value in asdict(one).items() if key not in ("missing", "unparsed")}
            source = {"file": path.name, "sha256": digest, "key": f"outcomes[{number}]"}
            value = _plain(told | how | {"judge": judge if "judged" in one.counts else None})
            fact = ModelFact(name=f"evaluation:{one.benchmark}", source=source, value=value)
            rank = (not one.incomplete, results.created_at)
            if one.benchmark not in best or rank > best[one.benchmark][0]:
                best[one.benchmark] = (rank, fact)
    if not best:
        return
    yield from (fact for _, fact in best.values())
    rows = [{"model": name, **{column: scores.get(column) for column in COLUMNS}} for name, scores in paper_rows()]
    yield ModelFact(name="paper", source={"file": "captionlake/models/evaluation/paper.toml", "key": "row"}, value=rows)


def read_model_facts(folder: Path) -> ModelFacts:
    """The facts that were written into a card's folder."""
    path = folder / FACTS_FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] > FORMAT:
            raise CaptionlakeError(f"{path} is of a newer captionlake: run  pip install --upgrade captionlake")
        return ModelFacts(data["checkpoint"], {fact["name"]: ModelFact(**fact) for fact in data["facts"]})
    except OSError as error:
        raise CaptionlakeError(
            f"{path} cannot be read ({error.strerror}): write the card first, without --check"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise CaptionlakeError(
            f"{path} does not hold a model card's facts: write the card again, without --check"
        ) from error


def _object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CaptionlakeError(f"{path} is no JSON ({error}): restore it") from error
    return found if isinstance(found, dict) else {}


def _plain(value: Any) -> Any:
    """As it comes back from JSON."""
    return json.loads(json.dumps(value))
