"""The files that conversations came from. ``origin`` of a conversation is the file's name, a colon, and the row from 1."""

from dataclasses import dataclass

from captionlake.lake.catalog import quote
from captionlake.lake.lake import Lake

ROW_OF = "regexp_extract(origin, '[0-9]+$')::BIGINT"  # SQL over ``conversations``


@dataclass(frozen=True, slots=True)
class Origin:
    """What the lake has of one file; ``with_picture``: rows of which it has at least one picture."""

    origin: str
    rows: int
    text_only: int
    with_picture: int


def list_origins(lake: Lake) -> list[Origin]:
    """By name. What was made of a release's captions counts under that release."""
    query = (
        "SELECT rtrim(rtrim(origin, '0123456789'), ':'), count(*), count_if(len(coalesce(image_paths, [])) = 0), "
        "count_if(len(list_filter(image_ids, lambda id: id IS NOT NULL)) > 0) FROM conversations "
        "WHERE origin IS NOT NULL GROUP BY 1 ORDER BY 1"
    )
    return [Origin(*row) for row in lake.rows(query)]


def of_origin(name: str) -> str:
    """SQL over ``conversations``: those of one file."""
    return f"rtrim(origin, '0123456789') = {quote(f'{name}:')}"


def count_of(lake: Lake, name: str) -> int:
    """How many conversations came from a file of this name."""
    return int(lake.value(f"SELECT count(*) FROM conversations WHERE {of_origin(name)}"))
