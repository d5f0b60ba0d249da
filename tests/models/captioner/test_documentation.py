"""docs/captioner.md: its table is what the command prints, its Python runs."""

import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from captionlake.models.captioner import ShareCaptionerForConditionalGeneration
from captionlake.models.captioner.__main__ import main

_PAGE = (Path(__file__).parents[3] / "docs" / "captioner.md").read_text()
_PYTHON = re.findall(r"```python\n(.*?)```", _PAGE, re.DOTALL)


def test_the_table_of_sizes_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert "`python -m captionlake.models.captioner` prints" in _PAGE
    main()
    table, released = capsys.readouterr().out.strip().split("\n\n")
    assert table in _PAGE
    assert released == "full in the released form: 16,801,524,992 bytes"


def test_its_examples_run(
    captioner: tuple[Any, Any],
    photos: list[Image.Image],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for part in captioner:
        part.save_pretrained("checkpoints/captioner")
        part.save_pretrained("checkpoints/captioner-224")
    photos[0].save("photo.jpg")
    names: dict[str, Any] = {"captions": ["A cat.", "A dog."]}
    for example in _PYTHON[:2]:
        exec(example, names)  # noqa: S102 - this repository's own page
    assert len(capsys.readouterr().out) > 1
    built: ShareCaptionerForConditionalGeneration = names["model"]
    assert (built.config.num_queries, len(built.vision_tower.encoder.layers)) == (25, 6)
    exec(_PYTHON[2], names)  # noqa: S102
    assert names["model"].config.vision_config.image_size == names["processor"].image_processor.size.height == 448
