"""The files of a model that go up: weights, configuration, tokenizer, record and card. Never what a training resumes from."""

import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from captionlake.cards.model_card import write_model_card
from captionlake.cards.publishing.plan import LocalFile, hashed, local_files
from captionlake.cards.publishing.staging import MARK
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.models.running.folder import CheckpointFolder

_SUFFIXES = frozenset({".json", ".model", ".txt", ".jinja"})  # beside the weights; no code, and nothing pickled
_RESUMES = ("optimizer", "scheduler", "trainer_state", "rng_state", "training_args", ".")


@contextmanager
def model_files(
    checkpoint: Path, tag: str, lake: Lake | None = None, *, results: Sequence[Path] = (), licence: str | None = None
) -> Iterator[tuple[list[LocalFile], dict[str, Any]]]:
    """(files, mark) of a checkpoint's folder with its card, for the time of a ``with``. The card is no part of the content's hash."""
    if not checkpoint.expanduser().is_dir():
        raise CaptionlakeError(
            f"no such folder: {checkpoint}: name a checkpoint's folder, or a release as NAME@VERSION"
        )
    found = CheckpointFolder.find(checkpoint)
    beside = [path for path in found.path.iterdir() if path.is_file() and _goes(path)]
    own = [hashed(path.name, path) for path in sorted({*found.weights, *beside})]
    mark = {
        "format": 1,
        "kind": "model",
        "name": found.name,
        "version": tag.removeprefix("v"),
        "content_sha256": hashlib.sha256("".join(f"{f.path}\0{f.sha256}\n" for f in own).encode()).hexdigest(),
    }
    with tempfile.TemporaryDirectory(prefix="captionlake-card-") as name:
        folder = Path(name)
        write_model_card(found.path, folder, results=results, lake=lake, license=licence)
        (folder / MARK).write_text(json.dumps(mark, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        made = local_files(folder)
        names = {file.path for file in made}
        yield [file for file in own if file.path not in names] + made, mark


def _goes(path: Path) -> bool:
    return path.suffix in _SUFFIXES and path.name != MARK and not path.name.startswith(_RESUMES)
