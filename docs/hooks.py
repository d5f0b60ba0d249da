"""For mkdocs: the site's first page is the README, and links out of docs/ become links to the repository's files by name."""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

_ROOT = Path(__file__).parents[1]
_LINK = re.compile(r"\[([^\]]*)\]\(((?:\.\./)*)([^)#:]+)(#[^)]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """README.md as index.md, its links seen from docs/."""
    text = (_ROOT / "README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "index.md", content=_LINK.sub(_from_root, text)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """A file of the repository that is none of the site's is named, and must be there."""
    folder = (_ROOT / "docs" / page.file.src_uri).parent
    return _LINK.sub(lambda match: _out_of_docs(match, folder), markdown)


def _from_root(match: re.Match[str]) -> str:
    text, _, path, anchor = match.groups()
    inside = path.removeprefix("docs/") if path.startswith("docs/") else f"../{path}"
    return f"[{text}]({inside}{anchor or ''})"


def _out_of_docs(match: re.Match[str], folder: Path) -> str:
    text, up, path, _ = match.groups()
    target = (folder / f"{up}{path}").resolve()
    if (_ROOT / "docs") in target.parents and target.suffix:
        return match[0]
    if not target.exists():
        return match[0]  # which mkdocs tells
    name = str(target.relative_to(_ROOT))
    return text if text == name else f"{text} (`{name}`)"
