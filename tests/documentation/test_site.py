"""The documentation as a site: it builds without a warning, and its reference has every command."""

import subprocess
import sys
from pathlib import Path

import click

from captionlake.cli import captionlake

from .blocks import ROOT


def test_it_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(ROOT / "mkdocs.yml")]
    command += ["-d", str(tmp_path / "site")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr
    reference = (tmp_path / "site" / "reference" / "commands" / "index.html").read_text()
    for name, one in captionlake.commands.items():
        assert f">{name}<" in reference or f"captionlake {name}" in reference, name
        if isinstance(one, click.Group):
            assert all(f"captionlake {name} {inner}" in reference for inner in one.commands)
    python = (tmp_path / "site" / "reference" / "python" / "index.html").read_text()
    assert "Run <code>change</code> as one transaction" in python
    assert "example.org" in (tmp_path / "site" / "takedown" / "index.html").read_text()
