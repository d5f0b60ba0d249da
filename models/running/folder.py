"""``CheckpointFolder``: a checkpoint on the disk, looked at before its weights are loaded."""

import json
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, Self

from captionlake.errors import CaptionlakeError, require
from captionlake.models.checkpoint import CheckpointRecord, read_record, weights_sha256

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_HUB_FILES = ["*.json", "*.jinja", "*.safetensors", "*.model", "*.txt"]  # nothing that is code, and nothing pickled
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Tensor:
    """As a safetensors header names it: ``size`` counts its numbers, ``end`` is the byte of its file behind it."""

    name: str
    dtype: str
    size: int
    end: int


@dataclass(frozen=True)
class CheckpointFolder:
    """Made by ``find``. ``record`` is None for a checkpoint that captionlake did not train."""

    path: Path
    config: dict[str, Any]
    weights: tuple[Path, ...]
    record: CheckpointRecord | None

    @classmethod
    def find(cls, checkpoint: str | Path) -> Self:
        """A folder, or ``OWNER/NAME`` on the Hub, which is downloaded. Raises where it is no whole checkpoint."""
        path = _folder(checkpoint)
        config = _json(path / "config.json")
        if not isinstance(config.get("model_type"), str):
            raise CaptionlakeError(
                f"{path / 'config.json'} names no model_type: give a folder that save_pretrained wrote"
            )
        return cls(path, config, _weights(path), read_record(path))

    @property
    def name(self) -> str:
        """By which captions are filed."""
        return self.record.name if self.record is not None else self.path.name

    @property
    def architecture(self) -> str:
        """The class that the checkpoint was saved from, or its kind of model."""
        named = self.config.get("architectures")
        return str(named[0] if isinstance(named, list) and named else self.config["model_type"])

    @property
    def is_llava(self) -> bool:
        """Whether it is LLaVA's architecture, which other programs know too."""
        return bool(self.config["model_type"] == "llava")

    def tensors(self) -> Iterator[Tensor]:
        """What the headers of the weights' files name. Reads no weight."""
        for path in self.weights:
            yield from _tensors(path)

    @cached_property
    def sha256(self) -> str:
        """Of the weights. Reads all of them."""
        return weights_sha256(self.path)


def is_checkpoint(checkpoint: str | Path) -> bool:
    """Whether it is a folder, or can be a name on the Hub: not one of a folder that is missing."""
    path = Path(checkpoint).expanduser()
    return path.is_dir() or (bool(_HUB_NAME.fullmatch(str(checkpoint))) and not path.parent.exists())


def _folder(checkpoint: str | Path) -> Path:
    path = Path(checkpoint).expanduser()
    if path.is_dir():
        return path.resolve()
    if path.exists():
        raise CaptionlakeError(f"{path} is a file: give the folder of a checkpoint")
    if not is_checkpoint(checkpoint):
        raise CaptionlakeError(f"no such folder: {path}: give the folder of a checkpoint, or OWNER/NAME on the Hub")
    hub = require("huggingface_hub", extra="models")
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(hub.snapshot_download(str(checkpoint), allow_patterns=_HUB_FILES))
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise CaptionlakeError(
            f"{checkpoint} is no folder here, and the Hub did not give it ({type(error).__name__}): check the name, or download it first"
        ) from error


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise CaptionlakeError(f"{path.parent} has no {path.name}: give a folder that save_pretrained wrote") from error
    except (OSError, ValueError) as error:
        raise CaptionlakeError(f"{path} is no JSON ({error}): restore it") from error
    if not isinstance(found, dict):
        raise CaptionlakeError(f"{path} holds no object: restore it")
    return found


def _weights(folder: Path) -> tuple[Path, ...]:
    """The safetensors files, each whole."""
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if index.exists():
        shards = _json(index).get("weight_map")
        names = sorted({str(name) for name in shards.values()}) if isinstance(shards, dict) else []
        if not names or any("/" in name or "\\" in name for name in names):
            raise CaptionlakeError(f"{index} names no files of this folder: restore it")
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            shown = ", ".join(missing[:_SHOWN]) + (", …" if len(missing) > _SHOWN else "")
            raise CaptionlakeError(
                f"{folder} lacks {len(missing)} of {len(names)} files of weights ({shown}): copy or download them again"
            )
        found = tuple(folder / name for name in names)
    elif whole.is_file():
        found = (whole,)
    else:
        pickled = next(iter(sorted(folder.glob("*.bin"))), None)
        if pickled is not None:
            raise CaptionlakeError(
                f"{folder} has its weights pickled ({pickled.name}), and nothing is unpickled here: "
                "save it again with model.save_pretrained, or convert it (docs/captioning.md)"
            )
        raise CaptionlakeError(f"{folder} has no weights: it needs model.safetensors, or its shards and their index")
    for path in found:
        if problem := _problem(path):
            raise CaptionlakeError(f"{path} is not whole ({problem}): copy or download it again")
    return found


def _problem(path: Path) -> str | None:
    """What is wrong with a safetensors file."""
    try:
        expected = max((one.end for one in _tensors(path)), default=8)
    except ValueError as error:
        return str(error)
    size = path.stat().st_size
    return None if size == expected else f"{size:,} bytes instead of {expected:,}"


def _tensors(path: Path) -> Iterator[Tensor]:
    """Of a safetensors file: eight bytes of length, a header of JSON, and the tensors that it places. Raises ``ValueError`` with what
    is wrong with it."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if 8 + length > size:
            raise ValueError(f"{size:,} bytes, and its header alone is longer")
        try:
            header = json.loads(file.read(length))
            found = [
                Tensor(name, str(entry["dtype"]), prod(entry["shape"]), 8 + length + entry["data_offsets"][1])
                for name, entry in header.items()
                if name != "__metadata__"
            ]
        except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            raise ValueError("its header is no table of tensors") from error
    yield from found
