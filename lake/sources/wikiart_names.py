"""Names of artists, genres and styles as words, so that all of WikiArt's forms call one painter or style the same.

A folder is ``Art_Nouveau_Modern``, and so is the class in the Hub's Parquet; a painter is ``vincent-van-gogh`` there and in
file names, ``Vincent_van_Gogh`` in the class files, and what a user writes in a table of their own.
"""

from collections.abc import Callable

import polars as pl

# Words of a name that are written small within it.
_SMALL = {"da", "de", "del", "della", "den", "der", "di", "do", "du", "la", "le", "of", "the", "van", "von", "y"}


def words(name: str) -> str:
    """Spaces for underscores, and for the hyphens of a name that has neither spaces nor capitals."""
    spaced = name.replace("_", " ")
    if " " not in name and name == name.lower():
        spaced = spaced.replace("-", " ")
    return " ".join(spaced.split()) or name.strip()


def person(name: str) -> str:
    """As ``words``; a name without capitals gets them: ``vincent-van-gogh`` is Vincent van Gogh."""
    spaced = words(name)
    if spaced != spaced.lower():
        return spaced
    parts = spaced.split(" ")
    return " ".join(
        part if number and part in _SMALL else part[:1].upper() + part[1:] for number, part in enumerate(parts)
    )


NAMED: dict[str, Callable[[str], str]] = {"artist": person, "genre": words, "style": words}


def column_of_names(column: pl.Series, name: str) -> pl.Series:
    """A column of texts, its values as the function for ``artist``, ``genre`` or ``style`` gives them, under that name."""
    distinct = column.drop_nulls().unique()
    known = pl.Series([NAMED[name](value) for value in distinct], dtype=pl.String)
    return column.replace_strict(distinct, known, return_dtype=pl.String).rename(name)
