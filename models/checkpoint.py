"""``captionlake.json`` in a checkpoint's folder: what it is and what it was trained on; and the hash of its weights."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from captionlake.errors import CaptionlakeError
from captionlake.lake.durable import replace_text

RECORD = "captionlake.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointRecord:
    """``question`` is what the model was asked about each picture, ``release`` (name@version) what it was trained on, ``start`` the
    checkpoint that it went on from, ``hyper`` the settings of training, ``versions`` of packages."""

    family: Literal["captioner", "lmm"]
    name: str
    stage: Literal["captioner", "pretrain", "sft"]
    template: str
    question: str | None
    release: str
    content_sha256: str
    recipe_sha256: str
    recipe: str
    steps: int
    samples: int
    start: str | None = None
    hyper: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    created_at: str = ""


def read_record(folder: Path) -> CheckpointRecord | None:
    """None where captionlake did not make the checkpoint."""
    from pydantic import TypeAdapter

    path = folder / RECORD
    try:
        return TypeAdapter(CheckpointRecord).validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        said = " ".join(str(error).split())[:200]
        raise CaptionlakeError(f"{path} cannot be read ({said}): restore it, or remove it") from error


def write_record(folder: Path, record: CheckpointRecord) -> None:
    """Beside the weights, whole or not at all."""
    replace_text(folder / RECORD, json.dumps(asdict(record), ensure_ascii=False, indent=2) + "\n")


def weights_sha256(folder: Path) -> str:
    """SHA-256 over the safetensors files in order of their names, hex. Reads all of them."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise CaptionlakeError(f"{folder} has no safetensors files: give a checkpoint's folder")
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
