"""The card's YAML front matter: what the Hub reads. Built by huggingface_hub, its closed sets checked here, without the Hub."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from captionlake.cards.facts import Facts
from captionlake.cards.licences import HUB_LICENCES, binding_licence, slug
from captionlake.cards.markdown import excerpt, web_url
from captionlake.cards.recipe_text import RecipeText
from captionlake.errors import CaptionlakeError, require

_SIZES = [
    "n<1K",
    "1K<n<10K",
    "10K<n<100K",
    "100K<n<1M",
    "1M<n<10M",
    "10M<n<100M",
    "100M<n<1B",
    "1B<n<10B",
    "10B<n<100B",
]
SIZE_CATEGORIES = frozenset([*_SIZES, "100B<n<1T", "n>1T", "other"])
TASK_CATEGORIES = frozenset(
    {"image-to-text", "visual-question-answering"}
)  # of the Hub's many, what a card here may say
TASK_IDS = frozenset({"image-captioning"})
TAGS = ("image-captioning", "vision-language", "captionlake")
LICENCE_FILE = "LICENSE.md"
_SPLIT = re.compile(r"\w+(\.\w+)*")  # what `datasets` takes as the name of a split
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_LICENCE_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Licence:
    """``identifier`` of the Hub; with ``other`` go a ``name`` and a ``link`` (a URL, or a file of the card's folder)."""

    identifier: str
    name: str | None = None
    link: str | None = None


def size_category(n_items: int) -> str:
    """The Hub's bucket of a number of rows."""
    bound = 1000
    for category in _SIZES:
        if n_items < bound:
            return category
        bound *= 10
    return "100B<n<1T" if n_items < 10**12 else "n>1T"


def licence(facts: Facts) -> Licence:
    """The licence over pictures and captions together: one that holds for all, or ``other`` with what there is to say."""
    recorded = facts["licences"].records
    texts = [row["licence"] for row in recorded]
    if binding := binding_licence(texts):
        return Licence(binding)
    if None in texts:
        return Licence("other", "partly-unknown", LICENCE_FILE)
    if len(set(texts)) == 1:
        url = next((found for row in recorded if (found := web_url(row["licence_url"]))), LICENCE_FILE)
        return Licence("other", slug(texts[0]), url)
    return Licence("other", "mixed", LICENCE_FILE)


def schema_of(facts: Facts) -> pa.Schema:
    """The columns of the release's Parquet export."""
    from captionlake.lake.exports import image_parquet, sft_parquet

    return sft_parquet.SCHEMA if facts.conversational else image_parquet.SCHEMA


def features(facts: Facts) -> list[dict[str, Any]]:
    """The columns of an exported release, as the Hub describes them."""
    return [_feature(field) for field in schema_of(facts)]


def _feature(field: pa.Field) -> dict[str, Any]:
    kind = field.type
    if pa.types.is_struct(kind) and [part.name for part in kind] == ["bytes", "path"]:
        return {"name": field.name, "dtype": "image"}
    if pa.types.is_list(kind):
        inner = kind.value_type
        if pa.types.is_struct(inner) and [part.name for part in inner] == ["bytes", "path"]:
            return {"name": field.name, "list": "image"}
        plain = _dtype(inner) if not pa.types.is_struct(inner) else [_feature(part) for part in inner]
        return {"name": field.name, "list": plain}
    return {"name": field.name, "dtype": _dtype(kind)}


def _dtype(kind: pa.DataType) -> str:
    names = {"double": "float64", "float": "float32", "timestamp[us, tz=UTC]": "timestamp[us, tz=UTC]"}
    return names.get(str(kind), str(kind))


def card_data(facts: Facts, recipe: RecipeText) -> Any:
    """The metadata as huggingface_hub's ``DatasetCardData``. Raises where a value is not one that the Hub takes."""
    hub: Any = require("huggingface_hub", extra="cards")
    own = licence(facts)
    splits = [(row["split"], row["items"]) for row in facts["splits"].records]
    values: dict[str, Any] = {
        "pretty_name": pretty_name(facts, recipe),
        "license": own.identifier,
        "license_name": own.name,
        "license_link": own.link,
        "language": [recipe.language] if recipe.language else None,
        "annotations_creators": _creators(facts),
        "source_datasets": ["original"],
        "task_categories": ["visual-question-answering"] if facts.conversational else ["image-to-text"],
        "task_ids": None if facts.conversational else sorted(TASK_IDS),
        "size_categories": [size_category(facts["totals"].only["items"])],
        "tags": list(TAGS),
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": split, "path": f"data/{split}-*.parquet"} for split, _ in splits],
            }
        ],
        "dataset_info": {
            "features": features(facts),
            "splits": [_split(facts, split, items) for split, items in splits],
            **_sizes_on_disk(facts),
        },
    }
    _validate(values)
    return hub.DatasetCardData(**{key: value for key, value in values.items() if value is not None})


def _split(facts: Facts, split: str, items: int) -> dict[str, Any]:
    own = [file for file in facts.files if file.split == split]
    sizes = {"num_bytes": sum(file.arrow_bytes for file in own)} if own else {}
    return {"name": split, **sizes, "num_examples": items}


def _sizes_on_disk(facts: Facts) -> dict[str, int]:
    if not facts.files:
        return {}
    return {
        "download_size": sum(file.n_bytes for file in facts.files),
        "dataset_size": sum(file.arrow_bytes for file in facts.files),
    }


def _creators(facts: Facts) -> list[str]:
    """The Hub's words for who wrote: models, or what was found beside the pictures."""
    if facts.conversational:
        return ["machine-generated"] if facts["totals"].only["of_captions"] else ["found"]
    kinds = {row["kind"] for row in facts["captions_by_producer"].records}
    if not kinds:
        return ["no-annotation"]
    by = {"teacher": "machine-generated", "captioner": "machine-generated"}
    return sorted({by.get(kind, "found") for kind in kinds})


def pretty_name(facts: Facts, recipe: RecipeText) -> str:
    """The recipe's title for the card, or the release's own name."""
    return excerpt(recipe.title or f"{facts.name} {facts.version}", 120)


def _validate(values: dict[str, Any]) -> None:
    """All that is wrong, at once: the Hub would refuse it only on upload."""
    rules: list[tuple[str, Callable[[Any], bool]]] = [
        ("license", lambda value: value in HUB_LICENCES),
        ("license_name", lambda value: value is None or bool(_LICENCE_NAME.fullmatch(value))),
        ("license_link", lambda value: value is None or value == LICENCE_FILE or web_url(value) == value),
        ("language", lambda value: value is None or all(_LANGUAGE.fullmatch(code) for code in value)),
        ("task_categories", lambda value: set(value) <= TASK_CATEGORIES),
        ("task_ids", lambda value: set(value or ()) <= TASK_IDS),
        ("size_categories", lambda value: set(value) <= SIZE_CATEGORIES),
        ("configs", lambda value: all(_SPLIT.fullmatch(file["split"]) for file in value[0]["data_files"])),
    ]
    wrong = [f"{key} {values[key]!r}" for key, right in rules if not right(values[key])]
    if values["license"] == "other" and not (values["license_name"] and values["license_link"]):
        wrong.append("license other without a name and a link")
    if wrong:
        raise CaptionlakeError(
            f"the card's metadata is not what the Hub takes ({'; '.join(wrong)}): mend the release's recipe"
        )


def check_front_matter(path: Path, data: Any, kind: Literal["DatasetCard", "ModelCard"] = "DatasetCard") -> None:
    """Read the written card back as the Hub does; raises where its metadata is not that of ``data``, the ``kind``'s card data."""
    hub: Any = require("huggingface_hub", extra="cards")
    try:
        found = getattr(hub, kind).load(path).data.to_dict()
    except Exception as error:  # whatever a YAML reader may throw at a broken block
        raise CaptionlakeError(f"{path} does not read back as a card ({error}): please report this as a bug") from error
    if found != data.to_dict():
        raise CaptionlakeError(f"{path} reads back with other metadata than was written: please report this as a bug")
