"""Training on transformers' Trainer. What needs torch is imported when it is used."""

from captionlake.models.training.data_config import DataConfig
from captionlake.models.training.job import STAGES, Stage, TrainJob
from captionlake.models.training.model_config import ModelConfig
from captionlake.models.training.train_config import LoraConfig, TrainConfig

__all__ = ["STAGES", "DataConfig", "LoraConfig", "ModelConfig", "Stage", "TrainConfig", "TrainJob"]
