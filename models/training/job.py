"""``TrainJob``: a training recipe that was read, with what its stage adds."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from captionlake.models.training.data_config import DataConfig
from captionlake.models.training.model_config import ModelConfig
from captionlake.models.training.stages import Family, Stage
from captionlake.models.training.train_config import LoraConfig, TrainConfig

_TEMPLATE: dict[Stage, str] = {"captioner": "share_captioner", "pretrain": "plain", "sft": "vicuna_v1"}
_TRAINED: dict[Stage, tuple[str, ...]] = {
    "captioner": ("vision", "sampler", "projector", "language"),
    "pretrain": ("vision:12-", "projector", "language"),
    "sft": ("projector", "language"),
}
# What a run that goes on may have changed: it is the same run on other machines, or told of otherwise.
_FREE = ("per_device", "gradient_checkpointing", "log_every", "save_every", "keep", "workers", "attention")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainJob:
    """Paths are absolute, names of the Hub as written. ``text`` is the recipe's file as read."""

    stage: Stage
    path: Path
    text: str
    lake: Path
    data: DataConfig
    model: ModelConfig
    train: TrainConfig
    lora: LoraConfig | None

    @property
    def family(self) -> Family:
        return "captioner" if self.stage == "captioner" else "lmm"

    @property
    def template(self) -> str:
        return self.data.template or _TEMPLATE[self.stage]

    @property
    def trained(self) -> tuple[str, ...]:
        return self.model.trained or _TRAINED[self.stage]

    @property
    def grouped(self) -> bool:
        """Whether steps are of one modality and about one length."""
        return (self.train.group or ("modality_length" if self.stage == "sft" else "none")) == "modality_length"

    @property
    def output(self) -> Path:
        return Path(self.train.output)

    @property
    def recipe_sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    def hyper(self) -> dict[str, Any]:
        """All settings, what the stage adds among them, as JSON has them; of folders the names, as they can move."""
        tables: dict[str, Any] = {name: asdict(getattr(self, name)) for name in ("data", "model", "train")}
        tables["lora"] = None if self.lora is None else asdict(self.lora)
        tables["data"] |= {"template": self.template}
        tables["model"] = {key: _name(value) for key, value in tables["model"].items()} | {"trained": self.trained}
        tables["train"] |= {"group": "modality_length" if self.grouped else "none"}
        del tables["train"]["output"]
        settings: dict[str, Any] = json.loads(json.dumps(tables))
        return settings

    def change_from(self, hyper: dict[str, Any]) -> str | None:
        """The first setting in which this is another run than that of ``hyper``, in words; None where they are one."""
        for table, settings in self.hyper().items():
            before = hyper.get(table)
            if settings is None or before is None:
                if settings is not before:
                    return f"[{table}] is {'not there any more' if settings is None else 'new'}"
                continue
            for key, value in settings.items():
                if key not in _FREE and before.get(key) != value:
                    return f"`{key}` in [{table}] is {value!r} and was {before.get(key)!r}"
        return None


def _name(value: Any) -> Any:
    """The last part of an absolute path; anything else as it is."""
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value
