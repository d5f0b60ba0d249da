"""The files of an analysis, each put in its place whole."""

import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from captionlake.curation.analysis.report import analysis_json, pairs_csv, pairs_parquet
from captionlake.curation.analysis.sunburst import draw_sunburst
from captionlake.errors import CaptionlakeError, require

if TYPE_CHECKING:
    from captionlake.curation.analysis.analysis import Analysis


def check_output(folder: Path) -> None:
    """Before work that takes long: whether the folder can be made, and figures drawn."""
    require("matplotlib", extra="analysis")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CaptionlakeError(f"{folder} cannot be made ({error.strerror}): choose another folder") from error


def write_output(analysis: "Analysis", folder: Path) -> list[Path]:
    """Write ``analysis.json``, ``pairs.csv``, ``pairs.parquet`` and, where a pair is shown, ``sunburst.png`` and ``.svg``."""
    files = {
        "analysis.json": analysis_json(analysis),
        "pairs.csv": pairs_csv(analysis),
        "pairs.parquet": pairs_parquet(analysis),
        **draw_sunburst(analysis),
    }
    check_output(folder)
    return [_write(folder / name, content) for name, content in files.items()]


def write_figure(analysis: "Analysis", path: Path) -> bool:
    """Write the sunburst as PNG or SVG, by the ending of ``path``. Returns whether there is one: whether a pair is shown."""
    drawn = draw_sunburst(analysis).get(f"sunburst{path.suffix.lower()}")
    if drawn is None:
        path.unlink(missing_ok=True)  # of an earlier run
        return False
    check_output(path.parent)
    _write(path, drawn)
    return True


def _write(path: Path, content: bytes) -> Path:
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        with partial.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise CaptionlakeError(f"{path} cannot be written ({error.strerror}): choose another folder") from error
    finally:
        partial.unlink(missing_ok=True)
    return path
