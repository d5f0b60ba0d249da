"""The files of a model that go up: weights, configuration, tokenizer and card. Never what a training resumes from."""

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from captionlake.cards.publishing.plan import LocalFile, local_files
from captionlake.cards.publishing.staging import MARK
from captionlake.errors import CaptionlakeError

_SUFFIXES = frozenset({".safetensors", ".json", ".model", ".txt", ".jinja", ".md"})
_NEVER = frozenset({"trainer_state.json", "README.md", MARK})


@contextmanager
def model_files(checkpoint: Path, tag: str) -> Iterator[tuple[list[LocalFile], dict[str, Any]]]:
    """(files, mark) of a checkpoint's folder with its card, for the time of a ``with``."""
    checkpoint = checkpoint.expanduser().absolute()
    if not (checkpoint / "config.json").is_file() or not list(checkpoint.glob("*.safetensors")):
        raise CaptionlakeError(
            f"{checkpoint} holds no config.json and *.safetensors: name a checkpoint's folder, or NAME@VERSION"
        )
    own = [path for path in checkpoint.iterdir() if path.is_file() and _goes(path)]
    with tempfile.TemporaryDirectory(prefix="captionlake-card-") as name:
        folder = Path(name)
        _write_card(checkpoint, folder)
        listed = [file for path in own for file in _one(path)] + local_files(folder)
        digest = hashlib.sha256(
            "".join(f"{f.path}\0{f.sha256}\n" for f in sorted(listed, key=lambda f: f.path)).encode()
        )
        mark = {
            "format": 1,
            "kind": "model",
            "name": checkpoint.name,
            "version": tag.removeprefix("v"),
            "content_sha256": digest.hexdigest(),
        }
        import json

        (folder / MARK).write_text(json.dumps(mark, indent=1) + "\n", encoding="utf-8")
        yield listed + [file for file in local_files(folder) if file.path == MARK], mark


def _goes(path: Path) -> bool:
    return path.suffix in _SUFFIXES and path.name not in _NEVER and not path.name.startswith(("optimizer", "."))


def _one(path: Path) -> list[LocalFile]:
    from captionlake.cards.publishing.plan import hashed

    return [hashed(path.name, path)]


def _write_card(checkpoint: Path, folder: Path) -> None:
    try:
        write: Any = import_module("captionlake.cards.model_card").write_model_card
    except ModuleNotFoundError:
        if not (checkpoint / "README.md").is_file():
            raise CaptionlakeError(
                f"{checkpoint} has no README.md: write the model's card there, and publish it again"
            ) from None
        shutil.copy(checkpoint / "README.md", folder / "README.md")
        return
    write(checkpoint, folder)
