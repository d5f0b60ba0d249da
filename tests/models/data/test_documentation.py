"""docs/training-data.md: its Python runs as it stands, on a lake of its names."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from captionlake.cli import captionlake

PAGE = Path(__file__).parents[3] / "docs" / "training-data.md"


def test_its_code_runs(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(made / "lake", tmp_path / "lake")
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text().replace("sharegpt4v@1.0.0", "tiles@1.0.0")
    (command,) = re.findall(r"^captionlake (.*)$", text, re.MULTILINE)
    done = CliRunner().invoke(captionlake, command.split())
    assert done.exit_code == 0, done.output
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 4
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names)  # noqa: S102 - the page's own code
    assert sorted(s.position for batch in names["loader"] for s in batch) == sorted(s.position for s in names["stream"])
    assert len(list(names["stream"])) == 38 and names["state"]
