"""WikiArt: some 80,000 paintings by style, as folders or a zip, with class files or a table; or the Hub's Parquet.

Folders (the ArtGAN release, github.com/cs-chan/ArtGAN): ``STYLE/artist_title-year.jpg``; style, artist, title and
year are taken from that path. Class files beside them: ``artist_train.csv, artist_val.csv, genre_…, style_…``, lines
``Style/file.jpg,class`` without a header, whose classes are named in ``artist_class.txt, genre_class.txt,
style_class.txt``, lines ``number name``. Or a CSV, TSV or JSON Lines with a header: ``filename`` (or ``path``,
``file_name``, ``file``), ``artist``, ``genre``, ``style``, ``title``, ``year``, ``description``. Parquet
(huggan/wikiart): ``image, artist, genre, style``, as texts or as classes that the schema's metadata name.

``meta`` has ``artist, genre, style, title, year`` and what else is told; ``subset`` is the style, ``author`` the
artist. Artists, genres and styles are written as words, the same from every form (``wikiart_names.py``). The key is
the path within, for Parquet ``FILE.parquet:ROW``. There are no captions; a ``description`` of the table is one, of
kind ``human``.

WikiArt's terms allow non-commercial research. Many of the paintings are in the public domain, others are not, and the
site's photographs may have owners of their own; no file says which is which, so the default of ``redistribute`` is
``none``.
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import polars as pl

from captionlake.errors import CaptionlakeError
from captionlake.lake.archives import row_for
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.sources.hub_parquet import HubForm, HubRows, form_of, hub_rows, meta_columns
from captionlake.lake.sources.parquet_rows import opened, parquet_files
from captionlake.lake.sources.picture_files import holds_pictures, picture_members
from captionlake.lake.sources.source import Row, Source, as_json, caption, conform, frames
from captionlake.lake.sources.tables import Texts, as_text, captions, meta
from captionlake.lake.sources.wikiart_names import NAMED, column_of_names, person, words
from captionlake.lake.sources.wikiart_tables import described

_GIVE = "give the folder or zip of STYLE/artist_title-year.jpg (and its class files or a CSV), or Parquet files"
_YEAR = re.compile(r"^(?P<title>.*?)(?:-(?P<year>1[0-9]{3}|20[0-9]{2}))?(?:-?\(\d+\))?$")


def _read(config: IngestConfig) -> Iterator[pl.DataFrame]:
    paths = [Path(name) for name in (*config.inputs, *config.archives)]
    if not paths:
        raise CaptionlakeError(f"the source wikiart needs its pictures: {_GIVE}")
    parquet = [path for path in paths if path.suffix.lower() == ".parquet" or _only_parquet(path)]
    pictures = [path for path in paths if path not in parquet and holds_pictures(path)]
    tables = [path for path in paths if path not in parquet and path not in pictures]
    if tables and not pictures:
        raise CaptionlakeError(f"{tables[0]}: a table without its pictures: {_GIVE}")
    for path, name in parquet_files(map(str, parquet)):
        yield from _from_parquet(path, name, config)
    if pictures:
        yield from frames(_rows(pictures, tables, config))


def _only_parquet(path: Path) -> bool:
    return path.is_dir() and not any(path.glob("*/*.jpg")) and any(path.rglob("*.parquet"))


def _rows(archives: list[Path], tables: list[Path], config: IngestConfig) -> Iterator[Row]:
    told = described(tables or [found for archive in archives for found in _beside(archive)])
    listed = False
    for archive in archives:
        for member in picture_members(archive):
            listed = True
            more = told.pop(member.name, None) or told.pop(_within(member.name), None) or {}
            facts = {**from_path(member.name), **more}
            yield {**_row(member.name, facts, config), **row_for(member=member, archive=archive)}
    if not listed:
        raise CaptionlakeError(f"{archives[0]} holds no pictures: {_GIVE}")
    for name, facts in told.items():
        where = facts.pop("", "its table")
        bad = {"bad": f"{where}: no picture {name} in {archives[0].name}", "reason": "missing_member"}
        bad |= {"archive": str(archives[0]), "member": name}
        yield {**_row(name, {**from_path(name), **facts}, config), **bad}


def _beside(archive: Path) -> list[Path]:
    """Class files that stand in the folder itself."""
    if not archive.is_dir():
        return []
    names = [f"{of}_{part}" for of in ("artist", "genre", "style") for part in ("train.csv", "val.csv", "class.txt")]
    return [archive / name for name in names if (archive / name).is_file()]


def _within(name: str) -> str:
    """``STYLE/file.jpg`` of a longer path, as of a zip that has all in a folder ``wikiart/``."""
    return "/".join(PurePosixPath(name).parts[-2:])


def from_path(name: str) -> dict[str, str]:
    """What ``STYLE/artist_title-year.jpg`` says: style, artist, title, year; words with spaces for their separators."""
    path = PurePosixPath(name)
    found = {"style": words(path.parent.name)} if path.parent.name else {}
    artist, underscore, rest = path.stem.partition("_")
    if underscore and (parts := _YEAR.match(rest)):
        found |= {"artist": person(artist), "title": parts["title"].replace("-", " ")}
        if parts["year"]:
            found["year"] = parts["year"]
    return {key: value for key, value in found.items() if value}


def _row(name: str, facts: dict[str, str], config: IngestConfig) -> Row:
    facts = {key: NAMED[key](value) if key in NAMED else value for key, value in facts.items() if key}
    description = facts.pop("description", None)
    return {
        "source_key": name,
        "subset": config.subset or facts.get("style"),
        "author": facts.get("artist"),
        "license": facts.pop("license", None),
        "captions": caption(description, "human"),
        "meta": as_json(facts),
    }


def _from_parquet(path: Path, name: str, config: IngestConfig) -> Iterator[pl.DataFrame]:
    with opened(path) as table:
        form = form_of(path, table)
        for rows in hub_rows(table, form, path):
            yield _frame(rows, form, name, config)


def _frame(rows: HubRows, form: HubForm, name: str, config: IngestConfig) -> pl.DataFrame:
    lower = {each.lower(): each for each in reversed(form.scalars)}
    none = pl.repeat(None, rows.place.height, dtype=pl.String, eager=True)
    facts = {each: column_of_names(as_text(rows.columns[lower[each]]), each) for each in NAMED if each in lower}
    license = as_text(rows.columns[lower["license"]]) if "license" in lower else none
    taken = [lower[each] for each in (*NAMED, "license") if each in lower]
    place = rows.place.with_columns(
        facts.get("artist", none).alias("artist"), facts.get("style", none).alias("style"), license.alias("license")
    )
    return conform(
        place.select(
            pl.concat_str(pl.lit(f"{name}:"), "row").alias("source_key"),
            pl.coalesce(pl.lit(config.subset, dtype=pl.String), "style").alias("subset"),
            "url",
            "archive",
            "member",
            "bad",
            "license",
            pl.col("artist").alias("author"),
            captions(place.height, *(Texts(rows.columns[each], form.kind(each)) for each in form.texts)),
            meta(place.height, [*facts.values(), *meta_columns(rows, form, taken)]),
        )
    )


WIKIART = Source(
    name="wikiart",
    collection="wikiart",
    title="WikiArt",
    takes="a folder or zip of STYLE/artist_title-year.jpg with its class CSVs or a CSV of artist, genre, style; or Parquet files",
    homepage="https://www.wikiart.org",
    license="each work's own; the site's terms allow non-commercial research",
    license_url="https://www.wikiart.org/en/terms-of-use",
    redistribute="none",
    read=_read,
)
