"""MM-Vet: ``mm-vet.json``, an object of samples by id, each with ``imagename``, and the pictures' folder ``images``."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from captionlake.curation.benchmarks.benchmark import Benchmark, Item, bad_row, item_name, item_of
from captionlake.errors import CaptionlakeError
from captionlake.lake.benchmarks import PictureFiles, files_with
from captionlake.lake.sources.json_items import refused, text_of

_LARGEST = 64 * 2**20  # bytes; the file as published has 200 kB


def found(root: Path) -> Benchmark | None:
    """MM-Vet, where a JSON file of the folder begins as its does."""
    paths = files_with(root, ".json", '"imagename"')
    if not paths:
        return None

    def items() -> Iterator[Item]:
        with PictureFiles(root) as pictures:
            for path in paths:
                for key, sample in _samples(path).items():
                    name = item_name(path.name, key)
                    picture = text_of(sample.get("imagename")) if isinstance(sample, dict) else None
                    if picture is None:
                        yield bad_row(name, "no imagename")
                    else:
                        yield item_of(name, partial(pictures.read, picture))

    return Benchmark(name="mm-vet", form="MM-Vet's JSON", files=tuple(paths), items=items)


def _samples(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LARGEST:
            raise CaptionlakeError(f"{path} has over {_LARGEST >> 20} MiB: give MM-Vet's own file")
        samples = json.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise CaptionlakeError(f"{path} cannot be read ({error.strerror}): check its path and rights") from error
    except (ValueError, RecursionError) as error:
        raise CaptionlakeError(f"{path} is not JSON in UTF-8 ({error}): download it again") from error
    if not isinstance(samples, dict):
        raise refused(path, "is no object of samples", "MM-Vet's own file")
    return samples
