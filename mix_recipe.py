"""A mix recipe: the TOML file of a mix for fine-tuning, with tables ``mix`` and ``release``. Read as recipes of images are."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from captionlake.curation.mixes.mix_config import MixConfig
from captionlake.lake.releases.config import ReleaseConfig
from captionlake.recipe_check import Check
from captionlake.recipe_file import RecipeError, absolute, check_lake, check_numbers, exists, parse, read
from captionlake.recipe_lines import places

_TABLES: dict[str, Any] = {"lake": str, "mix": MixConfig, "release": ReleaseConfig}
_FILES = ("base", "detail", "questions")


@dataclass(frozen=True, kw_only=True, slots=True)
class MixRecipe:
    """A mix recipe without problems; its paths are absolute. ``text`` is the file as read."""

    path: Path
    text: str
    lake: Path
    mix: MixConfig
    release: ReleaseConfig


def load_mix_recipe(path: Path) -> MixRecipe:
    """Read and check the mix recipe in ``path``. Raises ``RecipeError`` with every problem found."""
    path = Path(path)
    text = read(path)
    toml = text.removeprefix("\ufeff")
    check = Check(parse(path, toml), places(toml), _TABLES)
    check_numbers(check)
    if not check.problems():
        check.keys()
        found = check.values()
        for name in ("mix", "release"):
            if name not in check.data:
                check.missing((), name, note=f": a mix recipe has a table [{name}]")
        _check_files(check, path.parent)
        check_lake(check, path.parent)
    if check.problems():
        raise RecipeError(path, check.problems())
    mix: MixConfig = found["mix"]
    return MixRecipe(
        path=path,
        text=text,
        lake=absolute(path.parent, found["lake"]),
        mix=replace(
            mix,
            base=str(absolute(path.parent, mix.base)),
            detail=_optional(path.parent, mix.detail),
            questions=_optional(path.parent, mix.questions),
        ),
        release=found["release"],
    )


def _check_files(check: Check, folder: Path) -> None:
    table = check.data.get("mix")
    if not isinstance(table, dict):
        return
    for key in _FILES:
        name = table.get(key)
        if isinstance(name, str) and name and not exists(file := absolute(folder, name)):
            check.add(("mix", key), f"no such file: {file}")


def _optional(folder: Path, name: str | None) -> str | None:
    return None if name is None else str(absolute(folder, name))
