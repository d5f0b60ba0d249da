"""Checkpoints in shards, read one at a time and without unpickling; written as safetensors.

A folder has ``model.safetensors`` or ``pytorch_model.bin``, or several such files and an index that says which holds which key.
"""

import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from captionlake.errors import CaptionlakeError

_WHOLE = ("model.safetensors", "pytorch_model.bin")


def keys_by_shard(folder: Path) -> dict[Path, set[str]]:
    """Each file with the keys that are to be in it. A missing file is an error that names it; none is read but a lone one."""
    for whole in _WHOLE:
        if (index := folder / f"{whole}.index.json").is_file():
            return _of_index(folder, index)
        if (file := folder / whole).is_file():
            return {file: set(read_shard(file))}
    raise CaptionlakeError(
        f"{folder} is no checkpoint: it holds neither {' nor '.join(_WHOLE)}, nor an index of such files"
    )


def _of_index(folder: Path, index: Path) -> dict[Path, set[str]]:
    try:
        placed: Mapping[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        shards: dict[Path, set[str]] = {}
        for key, name in placed.items():
            shards.setdefault(folder / Path(name).name, set()).add(key)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CaptionlakeError(f"{index} is no index of shards: download it again") from error
    if missing := [file.name for file in shards if not file.is_file()]:
        names = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        raise CaptionlakeError(f"{folder} lacks {len(missing)} of {len(shards)} shards ({names}): download them again")
    return shards


def read_shard(file: Path) -> dict[str, Tensor]:
    """Its tensors, mapped into memory where the file's form allows it, so that they are read as they are used."""
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        tensors = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except Exception as error:  # what a damaged file raises is no closed set
        raise CaptionlakeError(
            f"{file} cannot be read as tensors ({type(error).__name__}): download it again"
        ) from error
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise CaptionlakeError(f"{file} holds other things than tensors by name: it is no checkpoint's shard")
    return tensors


def read_shards(shards: Mapping[Path, set[str]]) -> Iterator[tuple[str, Tensor]]:
    """All tensors, one file in memory at a time. A key that its file lacks is an error."""
    for file, keys in shards.items():
        tensors = read_shard(file)
        if lacking := sorted(keys - tensors.keys()):
            raise CaptionlakeError(f"{file} lacks {lacking[0]}, which the index places there: download it again")
        yield from ((key, tensors[key]) for key in sorted(keys))


class WeightWriter:
    """``add`` tensors one by one; files of up to ``shard_bytes`` are written as they fill, the index on leaving."""

    def __init__(self, folder: Path, *, shard_bytes: int = 5_000_000_000) -> None:
        self._folder, self._limit = folder, shard_bytes
        self._pending: dict[str, Tensor] = {}
        self._bytes = 0
        self._written: list[tuple[Path, list[str]]] = []
        self._total = 0

    def add(self, key: str, tensor: Tensor) -> None:
        size = tensor.numel() * tensor.element_size()
        if self._pending and self._bytes + size > self._limit:
            self._flush()
        self._pending[key] = tensor.contiguous()
        self._bytes += size
        self._total += size

    def _flush(self) -> None:
        from safetensors.torch import save_file

        part = self._folder / f"part-{len(self._written) + 1}.safetensors"
        save_file(self._pending, part, metadata={"format": "pt"})
        self._written.append((part, list(self._pending)))
        self._pending, self._bytes = {}, 0

    def __enter__(self) -> "WeightWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            return
        self._flush()
        count = len(self._written)
        if count == 1:
            self._written[0][0].rename(self._folder / "model.safetensors")
            return
        placed: dict[str, str] = {}
        for number, (part, keys) in enumerate(self._written, start=1):
            name = f"model-{number:05d}-of-{count:05d}.safetensors"
            part.rename(self._folder / name)
            placed |= dict.fromkeys(keys, name)
        index: dict[str, Any] = {"metadata": {"total_size": self._total}, "weight_map": placed}
        (self._folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")
