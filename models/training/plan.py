"""A dry run: parameters, steps, memory and hours of a job, from its release and from the shapes of its model. No weight is loaded."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from captionlake.errors import CaptionlakeError
from captionlake.models.captioner.building import around
from captionlake.models.data import ReleaseData, UnreadableSample
from captionlake.models.training.arguments import accumulation, all_steps
from captionlake.models.training.costs import memory, sample_flops, shapes_of
from captionlake.models.training.gpus import GPUS
from captionlake.models.training.job import TrainJob
from captionlake.models.training.lora import add_lora
from captionlake.models.training.starting import check_family, tokenizer

_SAMPLED = 256  # samples whose texts are tokenized
_CHARS = 4.0  # characters of a token, where no tokenizer can be had: about what English takes in Llama's
_GIB = 2**30


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedPart:
    """A part of the model, with its parameters and those of them that are trained."""

    name: str
    parameters: int
    trained: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """``text_tokens`` of a sample on average; ``memory_gib`` of each GPU by what takes it; ``hours`` at the stated ``utilisation``."""

    release: str
    samples: int
    epochs: int
    steps: int
    batch_size: int
    per_device: int
    accumulation: int
    parts: list[PlannedPart]
    parameters: int
    trained: int
    text_tokens: float
    tokens_from: str
    image_tokens: int
    memory_gib: dict[str, float]
    pflop_per_step: float
    exaflop: float
    hours: float
    gpus: int
    gpu: str
    utilisation: float
    warnings: list[str]


def plan(job: TrainJob, *, gpus: int, gpu: str, utilisation: float) -> Plan:
    """Of a release that is in the lake."""
    data = ReleaseData.open(job.lake, job.data.release, split=job.data.split)
    tokens, source = text_tokens(job, data)
    pictured = float(data.modalities().mean())
    return plan_for(
        job, samples=len(data), tokens=tokens, tokens_from=source, pictured=pictured,
        gpus=gpus, gpu=gpu, utilisation=utilisation,
    )  # fmt: skip


def plan_for(
    job: TrainJob, *, samples: int, tokens: float, tokens_from: str = "given", pictured: float = 1.0,
    gpus: int, gpu: str, utilisation: float,
) -> Plan:  # fmt: skip
    """Of ``samples`` with ``tokens`` of text each, of which the share ``pictured`` has a picture."""
    from captionlake.models.parts import freeze_all_but, parts_of

    train = job.train
    micro = accumulation(train, gpus)
    model = model_on_meta(job)
    freeze_all_but(model, job.trained)
    if job.lora is not None:
        add_lora(model, job.lora)
    parts = [
        PlannedPart(
            name=name, parameters=sum(p.numel() for p in own), trained=sum(p.numel() for p in own if p.requires_grad)
        )
        for name, own in parts_of(model).items()
        if "." not in name and own
    ]
    shapes = shapes_of(model, text_tokens=tokens)
    flops = sample_flops(shapes, checkpointing=train.gradient_checkpointing, pictured=pictured)
    steps = all_steps(train, samples)
    needed = memory(job, shapes, model, gpus=gpus)
    total = flops * steps * train.batch_size
    gib = sum(needed.values()) / _GIB
    room = GPUS[gpu].memory_gb * 1e9 / _GIB
    return Plan(
        release=job.data.release,
        samples=samples,
        epochs=train.epochs,
        steps=steps,
        batch_size=train.batch_size,
        per_device=train.per_device,
        accumulation=micro,
        parts=parts,
        parameters=sum(part.parameters for part in parts),
        trained=sum(part.trained for part in parts),
        text_tokens=tokens,
        tokens_from=tokens_from,
        image_tokens=_image_tokens(model),
        memory_gib={name: count / _GIB for name, count in needed.items()},
        pflop_per_step=flops * train.batch_size / 1e15,
        exaflop=total / 1e18,
        hours=total / (gpus * GPUS[gpu].tflops * 1e12 * utilisation) / 3600,
        gpus=gpus,
        gpu=gpu,
        utilisation=utilisation,
        warnings=[f"warning: {gib:,.1f} GiB do not fit into the {room:,.1f} GiB of a {gpu}"] if gib > room else [],
    )


def model_on_meta(job: TrainJob) -> Any:
    """The model of a job without weights: shapes alone."""
    from transformers import AutoConfig, AutoModelForImageTextToText

    import captionlake.models.captioner  # noqa: F401 - makes its classes known
    from captionlake.models.running.folder import CheckpointFolder

    if job.model.start is not None:
        folder = CheckpointFolder.find(job.model.start)
        check_family(job.model.start, folder.config["model_type"], job.family)
        config = AutoConfig.from_pretrained(folder.path)
    else:
        config = _captioner_config(job) if job.family == "captioner" else _lmm_config(job)
    if job.model.image_size is not None:
        config.vision_config.image_size = job.model.image_size
    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config(config)


def text_tokens(job: TrainJob, data: ReleaseData) -> tuple[float, str]:
    """Tokens of a sample's text on average, at most ``max_length``, and how they were counted: of samples over all of the release."""
    read = _tokenizer(job, data)
    counts = []
    for index in range(0, len(data), -(-len(data) // _SAMPLED)):
        try:
            text = "\n".join(text for _, text in data[index].turns)
        except UnreadableSample:
            continue
        count = len(text) / _CHARS if read is None else len(read(text)["input_ids"])
        counts.append(min(count, job.data.max_length))
    how = f"{_CHARS:g} characters each" if read is None else "tokenized"
    return sum(counts) / max(1, len(counts)), f"{how}, mean of {len(counts):,} samples"


def _tokenizer(job: TrainJob, data: ReleaseData) -> Any:
    """The checkpoint's or the language model's; None for a size without one."""
    from captionlake.models.running.folder import CheckpointFolder
    from captionlake.models.running.loading import load_processor, register_families

    if job.model.start is not None:
        register_families()
        return load_processor(CheckpointFolder.find(job.model.start)).tokenizer
    if job.model.tokenizer is None and job.model.language is None:
        return None
    return tokenizer(job, data, "")


def _captioner_config(job: TrainJob) -> Any:
    from captionlake.models.captioner import config_of

    config = config_of(job.model.size or "full")
    if job.model.vision is not None:
        vision = _config(job.model.vision)
        config.vision_config = getattr(vision, "vision_config", vision)
    return config if job.model.language is None else around(config, _config(job.model.language))


def _lmm_config(job: TrainJob) -> Any:
    from transformers import LlavaConfig

    from captionlake.models.lmm import config_of

    if job.model.vision is None or job.model.language is None:
        return config_of(job.model.size or "")
    vision, text = _config(job.model.vision), _config(job.model.language)
    vision = getattr(vision, "vision_config", vision)
    text.vocab_size = -(-(text.vocab_size + 1) // 64) * 64  # <image>, and rows for speed
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=text.vocab_size - 1,
        image_seq_length=(vision.image_size // vision.patch_size) ** 2,
    )


def _config(name: str) -> Any:
    """Of a folder, a GGUF file or a name on the Hub. The paper's two are known without the Hub."""
    from transformers import AutoConfig

    from captionlake.models.lmm import config_of

    known = {"openai/clip-vit-large-patch14-336": "vision_config", "lmsys/vicuna-7b-v1.5": "text_config"}
    if name in known:
        config = getattr(config_of("7b"), known[name])
        if name.startswith("lmsys"):
            config.vocab_size = 32000
        return config
    where = {"gguf_file": Path(name).name} if name.endswith(".gguf") else {}
    folder = str(Path(name).parent) if where else name
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False, **where)
    except (OSError, ValueError) as error:
        raise CaptionlakeError(
            f"{name} has no configuration that can be read ({' '.join(str(error).split())[:200]})"
        ) from error


def _image_tokens(model: Any) -> int:
    config = model.config
    return int(config.num_image_tokens if config.model_type == "share_captioner" else config.image_seq_length)
