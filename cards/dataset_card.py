"""``write_card``: a release's README.md, facts.json, LICENSE.md and figures, all from the facts and nothing else."""

import json
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from captionlake.cards import output
from captionlake.cards.contact_sheet import CONTACT_SHEET, contact_sheet
from captionlake.cards.croissant import CROISSANT_FILE, croissant
from captionlake.cards.croissant import problems as croissant_problems
from captionlake.cards.exported import exported_files
from captionlake.cards.facts import FACTS_FILE, Difference, Facts, check, collect
from captionlake.cards.fields import field
from captionlake.cards.figures import CAPTION_LENGTHS, SUNBURST, caption_lengths, sunburst
from captionlake.cards.markdown import Safe, one_line
from captionlake.cards.metadata import LICENCE_FILE, card_data, check_front_matter, features, licence, pretty_name
from captionlake.cards.recipe_text import RecipeText, quota_rows
from captionlake.cards.templating import render
from captionlake.errors import CaptionlakeError, require
from captionlake.lake import Lake
from captionlake.lake.catalog import quote

_FIGURES = {f"{name}.{kind}" for name in (CAPTION_LENGTHS, SUNBURST) for kind in ("png", "svg")} | {CONTACT_SHEET}


@dataclass(frozen=True, slots=True)
class Written:
    """A card on disk: how many facts it states, and its files."""

    folder: Path
    label: str
    facts: int
    pictures: int
    files: list[Path]

    @property
    def readme(self) -> Path:
        """The card itself."""
        return self.folder / output.README


def write_card(lake: Lake, label: str, folder: Path, *, export: Path | None = None, repo: str | None = None) -> Written:
    """Write the card of the release ``label`` (NAME@VERSION) into ``folder``, over an older one. The same release gives the same bytes.

    ``export``: the folder of its Parquet export, whose files and sizes the card then tells; ``repo``: where on the Hub it will be.
    """
    folder = Path(folder).expanduser().absolute()
    for module in ("huggingface_hub", "jinja2", "matplotlib"):
        require(module, extra="cards")
    facts = replace(collect(lake, label), repo=repo)
    if not facts["totals"].only["items"]:
        raise CaptionlakeError(f"{label} holds no items: there is nothing to write a card about")
    if export is not None:
        facts = replace(facts, files=exported_files(export, facts))
    recipe = RecipeText.parse(facts["recipe"].only["recipe"])
    figures = {} if facts.conversational else caption_lengths(facts) | sunburst(facts) | contact_sheet(lake, facts)
    content = {
        **figures,
        FACTS_FILE: facts.to_json().encode(),
        LICENCE_FILE: render("licences.md.jinja", **_context(facts, recipe)).encode(),
        CROISSANT_FILE: croissant(facts),
        output.README: readme(facts).encode(),
    }
    try:
        with output.staged(folder) as staging:
            output.write(staging, content)
            check_front_matter(staging / output.README, card_data(facts, recipe))
            placed = output.place(staging, folder, _FIGURES)
    except OSError as error:
        raise CaptionlakeError(
            f"the card cannot be written to {folder} ({error.strerror}): make room or choose another folder"
        ) from error
    shown = 0 if facts.conversational else len(facts["contact_sheet"].rows)
    return Written(folder, label, len(facts), shown, placed)


@dataclass(frozen=True, slots=True)
class Check:
    """``facts`` were asked again, ``differences`` answer otherwise; whether README.md and croissant.json are still the texts that follow.

    ``croissant_problems`` is what mlcroissant says of croissant.json, None where it is not installed.
    """

    facts: int
    differences: list[Difference]
    readme_as_written: bool
    croissant_problems: list[str] | None = None


def check_card(lake: Lake, label: str, folder: Path) -> Check:
    """Ask every fact of the card in ``folder`` again and compare."""
    folder = Path(folder).expanduser().absolute()
    facts, differences = check(lake, label, folder)
    same = not differences and _text(folder / output.README) == readme(facts)
    same = same and _text(folder / CROISSANT_FILE) == croissant(facts).decode()
    return Check(len(facts), differences, same, croissant_problems(folder / CROISSANT_FILE))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CaptionlakeError(f"{path} cannot be read ({error}): write the card again") from error


def readme(facts: Facts) -> str:
    """The text of README.md."""
    recipe = RecipeText.parse(facts["recipe"].only["recipe"])
    head = card_data(facts, recipe).to_yaml(line_break="\n")
    template = "conversations_card.md.jinja" if facts.conversational else "dataset_card.md.jinja"
    return f"---\n{head}\n---\n\n{render(template, **_context(facts, recipe))}"


def _context(facts: Facts, recipe: RecipeText) -> dict[str, Any]:
    return {
        "facts": facts,
        "label": facts.label,
        "title": pretty_name(facts, recipe),
        "release": facts["release"].only,
        "totals": SimpleNamespace(**facts["totals"].only),  # not a dictionary: its ``items`` is a method
        "redacted": facts["redacted"].only["redacted"],
        "conversational": facts.conversational,
        "repo": facts.repo,
        "picture_column": "pictures" if facts.conversational else "image",
        "shell_label": Safe(shlex.quote(one_line(facts.label))),
        "first_split": Safe(json.dumps(facts["splits"].rows[0][0])),
        "recipe": recipe,
        "licence": licence(facts),
        "features": [
            (f["name"], _kind(f), field(f["name"], conversational=facts.conversational)) for f in features(facts)
        ],
        "fact": lambda name: Safe(f"<sub>facts.json#{name}</sub>"),
        "rows": _rows(facts),
        "json": lambda text: Safe(json.dumps(text)),
        "sql": lambda text: Safe(quote(text)),
        **({} if facts.conversational else _of_pictures(facts, recipe)),
    }


def _of_pictures(facts: Facts, recipe: RecipeText) -> dict[str, Any]:
    """What the sections of a release of images ask for beside."""
    return {
        "gaps": facts["gaps"].only,
        "lengths": _overall_lengths(facts),
        "quotas": quota_rows(recipe, facts),
        "has_sunburst": bool(facts["root_pairs"].rows),
        "nsfw_measured": any(row["nsfw_measured"] for row in facts["traits"].records),
    }


def _rows(facts: Facts) -> Any:
    def rows(name: str, *columns: str, **absent: str) -> list[list[Any]]:
        """The columns named of a fact, in that order; ``absent`` says by column what stands for null."""
        return [
            [absent.get(column) if record[column] is None else record[column] for column in columns]
            for record in facts[name].records
        ]

    return rows


def _overall_lengths(facts: Facts) -> dict[str, Any]:
    return {row["unit"]: row for row in facts["caption_lengths"].records if row["kind"] is None}


def _kind(feature: dict[str, Any]) -> str:
    kind = feature.get("dtype") or feature["list"]
    return kind if isinstance(kind, str) and "list" not in feature else "list"
