"""Training on transformers' Trainer. Nothing here is imported before it is used: the command line looks at this room first."""

from typing import TYPE_CHECKING

from captionlake.models.training.stages import STAGES, Stage

if TYPE_CHECKING:
    from captionlake.models.training.data_config import DataConfig
    from captionlake.models.training.job import TrainJob
    from captionlake.models.training.model_config import ModelConfig
    from captionlake.models.training.train_config import LoraConfig, TrainConfig

_PLACES = {
    "DataConfig": "data_config",
    "LoraConfig": "train_config",
    "ModelConfig": "model_config",
    "TrainConfig": "train_config",
    "TrainJob": "job",
}
__all__ = ["STAGES", "DataConfig", "LoraConfig", "ModelConfig", "Stage", "TrainConfig", "TrainJob"]


def __getattr__(name: str) -> object:
    import importlib

    if name in _PLACES:
        return getattr(importlib.import_module(f"captionlake.models.training.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
