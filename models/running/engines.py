"""Which engine writes, and on which devices."""

import importlib.util

from captionlake.errors import CaptionlakeError
from captionlake.models.running.captioner import CheckpointCaptioner
from captionlake.models.running.engine import Engine


def engine_name(captioner: CheckpointCaptioner) -> str:
    """The engine that is asked for; for "auto" vLLM where it is installed, there is a GPU and the architecture is LLaVA's."""
    config, installed = captioner.config, importlib.util.find_spec("vllm") is not None
    named = config.engine
    if named == "auto":
        fits = captioner.placement.on_gpu and captioner.folder.is_llava and config.sampling == "greedy"
        return "vllm" if installed and fits else "transformers"
    if named == "vllm":
        if not captioner.folder.is_llava:
            raise CaptionlakeError(
                f"vLLM does not know {captioner.folder.architecture}: it is for LLaVA's architecture, take engine = transformers"
            )
        if not installed:
            raise CaptionlakeError("vllm is not installed: run  pip install vllm  or take engine = transformers")
    return named


def devices(captioner: CheckpointCaptioner) -> list[str]:
    """A device for each worker: one a GPU where none is named, and else as many as are asked for on the device named."""
    import torch

    device, workers = captioner.placement.device, captioner.config.workers
    if device == "cuda" and (workers or torch.cuda.device_count()) > 1:
        count = torch.cuda.device_count()
        return [f"cuda:{number % count}" for number in range(workers or count)]
    return [device] * (workers or 1)


def make_engine(captioner: CheckpointCaptioner, device: str) -> Engine:
    """Load the checkpoint. Raises where it does not fit."""
    if engine_name(captioner) == "vllm":
        from captionlake.models.running.vllm_engine import VllmEngine

        dtype = "bfloat16" if captioner.placement.precision == "bf16" else "float32"
        return VllmEngine(captioner.folder, captioner.prompt.text, captioner.config, device, dtype)
    from captionlake.models.running.loading import Checkpoint
    from captionlake.models.running.transformers_engine import TransformersEngine

    checkpoint = Checkpoint.load(captioner.folder, device=device, precision=captioner.placement.precision)
    return TransformersEngine(checkpoint, captioner.prompt.text, captioner.config)
