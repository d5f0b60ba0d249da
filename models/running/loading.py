"""``load``: a checkpoint of either family, ready to write."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from captionlake.errors import CaptionlakeError, require
from captionlake.models.running.folder import CheckpointFolder
from captionlake.placement import Placement, place

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Model and processor are transformers', on the device and in the precision of ``placement``."""

    folder: CheckpointFolder
    model: Any
    processor: Any
    placement: Placement

    @classmethod
    def load(cls, checkpoint: str | Path | CheckpointFolder, *, device: str = "auto", precision: str = "auto") -> Self:
        """A folder, or a name on the Hub. Nothing is unpickled and no code of the checkpoint's runs.

        Raises where it is no model of pictures and texts, where files of it are missing or damaged, or where tokenizer, weights
        and configuration disagree.
        """
        folder = checkpoint if isinstance(checkpoint, CheckpointFolder) else CheckpointFolder.find(checkpoint)
        placement = place(device, precision, extra="models")
        check_architecture(folder)
        processor = load_processor(folder)
        _check_vocabulary(folder, processor, _vocabulary(folder.config))
        with _errors(folder, placement):
            model = _model(folder, placement)
        _check_vocabulary(folder, processor, model.get_input_embeddings().weight.shape[0])
        return cls(folder, model, processor, placement)


def check_architecture(folder: CheckpointFolder) -> None:
    """Raises where the checkpoint is no model of pictures and texts."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    register_families()
    if folder.config["model_type"] not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        raise CaptionlakeError(
            f"{folder.path} is a {folder.architecture} ({folder.config['model_type']}), no model of pictures and texts: "
            "give a captioner of captionlake's or a LLaVA"
        )


def register_families() -> None:
    """Make captionlake's own models known to transformers' auto classes, in this process; and its bars to a terminal alone."""
    transformers = require("transformers", extra="models")
    if not sys.stderr.isatty():
        transformers.utils.logging.disable_progress_bar()
    import captionlake.models.captioner  # noqa: F401


def load_processor(folder: CheckpointFolder) -> Any:
    """Tokenizer, image processor and chat template."""
    from transformers import AutoProcessor

    try:
        processor = AutoProcessor.from_pretrained(folder.path, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CaptionlakeError(
            f"{folder.path} has no processor that can be read ({_short(error)}): save it there with processor.save_pretrained"
        ) from error
    for part in ("tokenizer", "image_processor"):
        if getattr(processor, part, None) is None:
            raise CaptionlakeError(f"the processor of {folder.path} has no {part}: save the whole processor there")
    if not getattr(processor, "chat_template", None):
        raise CaptionlakeError(
            f"{folder.path} has no chat_template.jinja, which says how questions are put: copy it from where the model comes from"
        )
    return processor


def _vocabulary(config: dict[str, Any]) -> int | None:
    """Rows of the embeddings as the configuration has them; None where it leaves that to transformers."""
    text = config.get("text_config") if isinstance(config.get("text_config"), dict) else config
    size = text.get("vocab_size") if isinstance(text, dict) else None
    return size if isinstance(size, int) else None


def _check_vocabulary(folder: CheckpointFolder, processor: Any, rows: int | None) -> None:
    tokens = len(processor.tokenizer)
    if rows is not None and tokens > rows:
        raise CaptionlakeError(
            f"{folder.path}: the tokenizer has {tokens:,} tokens and the model embeds {rows:,}: "
            "they are not of the same checkpoint, or the embeddings were not enlarged when tokens were added"
        )


def _model(folder: CheckpointFolder, placement: Placement) -> Any:
    from transformers import AutoModelForImageTextToText

    model, told = AutoModelForImageTextToText.from_pretrained(
        folder.path,
        dtype=placement.dtype,
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # told below, by name
    )
    lacking = sorted(map(str, told["missing_keys"]))
    misshapen = sorted(str(name) for name, *_ in told["mismatched_keys"])
    for names, said in ((lacking, "lack"), (misshapen, "have another shape in")):
        if names:
            raise CaptionlakeError(
                f"the weights in {folder.path} {said} {len(names)} tensors of its {folder.architecture} ({names[0]}, …): "
                "they are not of this config.json: restore both"
            )
    return model.to(placement.device).eval()


@contextmanager
def _errors(folder: CheckpointFolder, placement: Placement) -> Iterator[None]:
    """What goes wrong while weights are loaded, in one line."""
    from captionlake.models.memory import out_of_memory

    advice = "take --precision bf16, another --device, or a smaller model"
    try:
        with out_of_memory(f"{folder.path} does not fit into the memory of {placement.device}: {advice}"):
            yield
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise CaptionlakeError(f"{folder.path} cannot be loaded ({_short(error)}): is it whole?") from error


def _short(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
