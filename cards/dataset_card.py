"""``write_card``: a release's README.md, facts.json, LICENSE.md and figures, all from the facts and nothing else."""

import json
import shlex
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from captionlake.cards import output
from captionlake.cards.contact_sheet import CONTACT_SHEET, contact_sheet
from captionlake.cards.facts import FACTS_FILE, Difference, Facts, check, collect
from captionlake.cards.figures import CAPTION_LENGTHS, caption_lengths
from captionlake.cards.markdown import Safe, code, excerpt, fenced, file_size, link, markdown, one_line, plural, table
from captionlake.cards.metadata import LICENCE_FILE, card_data, check_front_matter, features, licence, pretty_name
from captionlake.cards.recipe_text import RecipeText, quota_rows
from captionlake.errors import CaptionlakeError, require
from captionlake.lake import Lake

_FIGURES = {f"{CAPTION_LENGTHS}.png", f"{CAPTION_LENGTHS}.svg", CONTACT_SHEET}
_FIELDS = {
    "image": "the picture, bytes as downloaded; empty where its source lets only a URL, or nothing, be passed on",
    "caption": "the first caption",
    "captions": "all captions, each with its role, its producer and its licence",
    "image_id": "SHA-256 of the picture's bytes, hexadecimal",
    "source": "the source, one of those listed below",
    "source_key": "the row's key in its source",
    "collection": "the collection that quotas count",
    "subset": "the kind within its collection, where there is one",
    "url": "where the picture was downloaded from",
    "license": "the picture's own licence, where its source says one",
    "author": "the picture's author, where its source says one",
    "split": "the split that the row is in",
    "width": "pixels, as a viewer shows the picture",
    "height": "pixels, as a viewer shows the picture",
    "row_sha256": "hash over the row's keys, picture, split and captions",
}


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


def write_card(lake: Lake, label: str, folder: Path) -> Written:
    """Write the card of the release ``label`` (NAME@VERSION) into ``folder``, over an older one. The same release gives the same bytes."""
    folder = Path(folder).expanduser().absolute()
    for module in ("huggingface_hub", "jinja2", "matplotlib"):
        require(module, extra="cards")
    facts = collect(lake, label)
    if not facts["totals"].only["items"]:
        raise CaptionlakeError(f"{label} holds no items: there is nothing to write a card about")
    recipe = RecipeText.parse(facts["recipe"].only["recipe"])
    figures = caption_lengths(facts) | contact_sheet(lake, facts)
    content = {
        **figures,
        FACTS_FILE: facts.to_json().encode(),
        LICENCE_FILE: render("licences.md.jinja", facts, recipe).encode(),
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
    return Written(folder, label, len(facts), len(facts["contact_sheet"].rows), placed)


@dataclass(frozen=True, slots=True)
class Check:
    """``facts`` were asked again, ``differences`` answer otherwise; whether README.md is still the text that follows from them."""

    facts: int
    differences: list[Difference]
    readme_as_written: bool


def check_card(lake: Lake, label: str, folder: Path) -> Check:
    """Ask every fact of the card in ``folder`` again and compare."""
    folder = Path(folder).expanduser().absolute()
    facts, differences = check(lake, label, folder)
    same = False
    if not differences:
        try:
            same = (folder / output.README).read_text(encoding="utf-8") == readme(facts)
        except (OSError, UnicodeDecodeError) as error:
            raise CaptionlakeError(
                f"{folder / output.README} cannot be read ({error}): write the card again"
            ) from error
    return Check(len(facts), differences, same)


def readme(facts: Facts) -> str:
    """The text of README.md."""
    recipe = RecipeText.parse(facts["recipe"].only["recipe"])
    head = card_data(facts, recipe).to_yaml(line_break="\n")
    return f"---\n{head}\n---\n\n{render('dataset_card.md.jinja', facts, recipe)}"


def render(template: str, facts: Facts, recipe: RecipeText) -> str:
    """A template with the facts filled in; every value passes ``markdown`` unless it is ``Safe``."""
    jinja2: Any = require("jinja2", extra="cards")
    environment = jinja2.Environment(
        autoescape=False,  # Markdown is not HTML: finalize escapes for both
        finalize=markdown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    source = files("captionlake.cards").joinpath("templates", template).read_text(encoding="utf-8")
    text: str = environment.from_string(source).render(**_context(facts, recipe))
    return text


def _context(facts: Facts, recipe: RecipeText) -> dict[str, Any]:
    return {
        "facts": facts,
        "label": facts.label,
        "title": pretty_name(facts, recipe),
        "release": facts["release"].only,
        "totals": SimpleNamespace(**facts["totals"].only),  # not a dictionary: its ``items`` is a method
        "gaps": facts["gaps"].only,
        "shell_label": Safe(shlex.quote(one_line(facts.label))),
        "first_split": Safe(json.dumps(facts["splits"].rows[0][0])),
        "lengths": _overall_lengths(facts),
        "recipe": recipe,
        "quotas": quota_rows(recipe, facts),
        "licence": licence(facts),
        "features": [(f["name"], _kind(f), _FIELDS.get(f["name"], "")) for f in features()],
        "reasons": {row["reason"] for row in facts["exclusions"].records},
        "fact": lambda name: Safe(f"<sub>facts.json#{name}</sub>"),
        "rows": _rows(facts),
        "plural": plural,
        "table": table,
        "code": code,
        "fenced": fenced,
        "link": link,
        "excerpt": excerpt,
        "size": file_size,
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
