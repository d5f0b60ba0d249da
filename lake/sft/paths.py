"""Pictures' paths in released files: which picture of the lake a path means, and the path that a picture has."""

from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Place:
    """Where a picture would be in the lake: its collection and key, and its file name without the suffix."""

    collection: str
    subset: str | None
    key: str
    stem: str


def place_of_path(path: str) -> Place | None:
    """ShareGPT4V's paths mean pictures of its collections; of another, the first folder is the collection, what follows the key.

    >>> place_of_path("gqa/images/2354786.jpg")
    Place(collection='gqa', subset=None, key='2354786.jpg', stem='2354786')
    """
    from captionlake.lake.sources.sharegpt4v import place_of  # which loads Polars: the exports do without

    known = place_of(path)
    if known is None:
        collection, _, rest = path.partition("/")
        key = rest.removeprefix("images/")
        if not collection or not key or key.endswith("/"):
            return None
        known = collection, None, key
    collection, subset, key = known
    name = key.rpartition("/")[2]
    return Place(collection, subset, key, name if collection == "textcaps" else name.rpartition(".")[0] or name)


# SQL over ``conversations``: the first two folders of the first picture's path, which tell the parts of LLaVA's mix apart as far as
# its rows do; ``text`` where there is no picture.
PART = (
    "CASE WHEN len(coalesce(image_paths, [])) = 0 THEN 'text' "
    "ELSE coalesce(nullif(regexp_extract(image_paths[1], '^([^/]+(/[^/]+)?)/', 1), ''), 'other') END"
)


def path_query() -> str:
    """SQL expression over ``images``: the path that a picture has in files of ShareGPT4V's form."""
    return files("captionlake.lake").joinpath("sql/released_path.sql").read_text()
