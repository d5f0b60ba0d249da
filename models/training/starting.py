"""The model that training begins with: a checkpoint, parts, or random weights; and the parts of it that are trained."""

from pathlib import Path
from typing import Any

from captionlake.errors import CaptionlakeError
from captionlake.models.data import ReleaseData
from captionlake.models.training.job import TrainJob
from captionlake.models.training.stages import Family

_KIND = {"captioner": "share_captioner", "lmm": "llava"}
_TOKENS = {"tiny": 512, "small": 2048}  # of a tokenizer that is learned from the release
_TEXTS = 50_000  # at most so many samples' texts


def start(job: TrainJob, data: ReleaseData) -> tuple[Any, Any]:
    """(model, processor) in fp32 on the processor, with the parts that are not trained frozen."""
    from captionlake.models.parts import freeze_all_but

    if job.model.start is not None:
        model, processor = _checkpoint(job, job.model.start)
    elif job.family == "captioner":
        model, processor = _captioner(job, data)
    else:
        model, processor = _lmm(job, data)
    try:
        model.set_attn_implementation(job.train.attention)
    except (ImportError, ValueError) as error:
        raise CaptionlakeError(
            f'attention = {job.train.attention!r} cannot be used ({" ".join(str(error).split())[:200]}): take "sdpa"'
        ) from error
    freeze_all_but(model, job.trained)
    return model, processor


def check_family(name: str, model_type: str, family: Family) -> None:
    """Raises where a checkpoint's ``model_type`` is not the family's."""
    if model_type != _KIND[family]:
        known = {
            kind: f"train {'captioner' if one == 'captioner' else 'pretrain or sft'}" for one, kind in _KIND.items()
        }
        instead = f": it is for  {known[model_type]}" if model_type in known else ""
        raise CaptionlakeError(f"start = {name} is a model of type {model_type}, not {_KIND[family]}{instead}")


def _checkpoint(job: TrainJob, name: str) -> tuple[Any, Any]:
    from captionlake.models.running.folder import CheckpointFolder
    from captionlake.models.running.loading import Checkpoint

    folder = CheckpointFolder.find(name)
    check_family(name, folder.config["model_type"], job.family)
    loaded = Checkpoint.load(folder, device="cpu", precision="fp32")
    model, processor = loaded.model, loaded.processor
    if job.family == "captioner":
        if job.model.image_size is not None:
            from captionlake.models.captioner import resize_positions

            resize_positions(model, job.model.image_size)
            processor.resize(job.model.image_size)
    else:
        from captionlake.models.lmm import use_template

        use_template(model, processor, job.template)
    return model, processor


def _captioner(job: TrainJob, data: ReleaseData) -> tuple[Any, Any]:
    from captionlake.models.captioner import build

    wanted = job.model
    language, gguf = wanted.language, None
    if language is not None and language.endswith(".gguf"):
        language, gguf = str(Path(language).parent), Path(language).name
    size = wanted.size or "full"
    return build(
        size,
        tokenizer(job, data, size),
        seed=job.train.seed,
        vision=wanted.vision,
        language=language,
        gguf_file=gguf,
        image_size=wanted.image_size,
    )


def _lmm(job: TrainJob, data: ReleaseData) -> tuple[Any, Any]:
    from captionlake.models.lmm import build_lmm, random_lmm

    wanted = job.model
    if wanted.vision is not None and wanted.language is not None:
        return build_lmm(
            vision=wanted.vision,
            language=wanted.language,
            projector=wanted.projector,
            template=job.template,
            seed=job.train.seed,
        )
    if wanted.size is None or wanted.vision is not None or wanted.language is not None:
        raise CaptionlakeError("an LMM is made of `vision` and `language` together, or is a `size` of random weights")
    size = wanted.size
    return random_lmm(size, tokenizer(job, data, size), template=job.template, seed=job.train.seed)


def tokenizer(job: TrainJob, data: ReleaseData, size: str) -> Any:
    """The recipe's, the language model's, or for the sizes of tests and trials one that is learned from the release's texts."""
    from transformers import AutoTokenizer

    from captionlake.models.captioner import train_tokenizer

    name = job.model.tokenizer or job.model.language
    if name is not None:
        where = {"gguf_file": Path(name).name} if name.endswith(".gguf") else {}
        folder = str(Path(name).parent) if where else name
        try:
            return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, **where)
        except (OSError, ValueError) as error:
            raise CaptionlakeError(
                f"{name} gave no tokenizer ({' '.join(str(error).split())[:200]}): check the name"
            ) from error
    if size not in _TOKENS:
        raise CaptionlakeError(
            f'size = "{size}" needs a tokenizer: add `tokenizer`, or `language` with its weights, to [model]'
        )
    step = -(-len(data) // _TEXTS)
    texts = (text for index in range(0, len(data), step) for text in _texts(data, index))
    return train_tokenizer(texts, _TOKENS[size])


def _texts(data: ReleaseData, index: int) -> list[str]:
    from captionlake.models.data import UnreadableSample

    try:
        return [text for _, text in data[index].turns]
    except UnreadableSample:
        return []
