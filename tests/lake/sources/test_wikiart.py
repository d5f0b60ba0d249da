"""WikiArt: folders and zips by style, their class files, tables with a header, and the Hub's Parquet."""

import csv
import json
import zipfile
from pathlib import Path

import datasets
import polars as pl
import pytest

from captionlake.errors import CaptionlakeError
from captionlake.lake.archives import ArchiveReader
from captionlake.lake.ingest_config import IngestConfig
from captionlake.lake.sources.source import SCHEMA
from captionlake.lake.sources.wikiart import WIKIART, from_path
from captionlake.lake.sources.wikiart_names import person

from ..image_server import jpeg

NAMES = [
    "Art_Nouveau/alphonse-mucha_the-seasons-1897.jpg",
    "Impressionism/claude-monet_water-lilies-1919(1).jpg",
    "Impressionism/claude-monet_still-life-3.jpg",
    "Pop_Art/andy-warhol_campbell-s-soup-cans,-32-1962.jpg",
]


def read(*paths: Path, **options: object) -> pl.DataFrame:
    config = IngestConfig(source="wikiart", inputs=[str(path) for path in paths], **options)  # type: ignore[arg-type]
    return pl.concat([pl.DataFrame(schema=SCHEMA), *WIKIART.read(config)])


def facts(rows: pl.DataFrame) -> dict[str, dict[str, str]]:
    return {key: json.loads(meta) for key, meta in rows.select("source_key", "meta").iter_rows()}


def folder(path: Path) -> Path:
    for number, name in enumerate(NAMES):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(jpeg(number))
    return path


def zipped(path: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for number, name in enumerate(NAMES):
            file.writestr(prefix + name, jpeg(number))
    return path


def classes(path: Path) -> list[Path]:
    """The class files as ArtGAN has them; the official ones quote nothing."""
    path.mkdir(exist_ok=True)
    (path / "artist_class.txt").write_text("0 Albrecht_Durer\n1 Claude_Monet\n2 Alphonse_Mucha\n")
    (path / "genre_class.txt").write_text("0 abstract_painting\n1 landscape\n")
    (path / "artist_train.csv").write_text(f"{NAMES[0]},2\n{NAMES[1]},1\n{NAMES[3]},9\n")
    (path / "artist_val.csv").write_text(f"{NAMES[2]},1\n")
    (path / "genre_train.csv").write_text(f"{NAMES[1]},1\nRealism/ilya-repin_gone-1870.jpg,0\n")
    return sorted(path.glob("*_*.*"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (NAMES[0], {"style": "Art Nouveau", "artist": "Alphonse Mucha", "title": "the seasons", "year": "1897"}),
        (NAMES[1], {"style": "Impressionism", "artist": "Claude Monet", "title": "water lilies", "year": "1919"}),
        (NAMES[2], {"style": "Impressionism", "artist": "Claude Monet", "title": "still life 3"}),
        ("no-style_1885.jpg", {"artist": "No Style", "title": "1885"}),
        ("Realism/odd.jpg", {"style": "Realism"}),
        ("a/b/Realism/x_-1885.jpg", {"style": "Realism", "artist": "X", "year": "1885"}),
    ],
)
def test_what_a_path_says(name: str, expected: dict[str, str]) -> None:
    assert from_path(name) == expected


def test_a_folder_and_a_zip_tell_the_same(tmp_path: Path) -> None:
    first, second = read(folder(tmp_path / "wikiart")), read(zipped(tmp_path / "wikiart.zip"))
    assert sorted(first["source_key"]) == sorted(NAMES)
    assert facts(first) == facts(second) == {name: from_path(name) for name in NAMES}
    for rows in (first, second):
        assert dict(rows.select("source_key", "subset").iter_rows())[NAMES[0]] == "Art Nouveau"
        assert dict(rows.select("source_key", "author").iter_rows())[NAMES[0]] == "Alphonse Mucha"
        with ArchiveReader(max_bytes=2**20) as reader:
            for key, *place in rows.select("source_key", "archive", "member", "offset", "n_bytes").iter_rows():
                assert reader.read(*place) == jpeg(NAMES.index(key))
    assert set(read(tmp_path / "wikiart.zip", subset="mine")["subset"]) == {"mine"}


@pytest.mark.parametrize("form", ["beside", "given", "zip"])
def test_class_files(tmp_path: Path, form: str) -> None:
    if form == "zip":
        paths = [*classes(tmp_path / "csv"), zipped(tmp_path / "w.zip", "wikiart/")]
    elif form == "given":
        paths = [folder(tmp_path / "w"), *classes(tmp_path / "csv")]
    else:
        paths = [folder(tmp_path / "w")]
        classes(paths[0])
    rows = read(*paths)
    prefix = "wikiart/" if form == "zip" else ""
    told = facts(rows)
    assert told[prefix + NAMES[1]] == from_path(NAMES[1]) | {"artist": "Claude Monet", "genre": "landscape"}
    assert told[prefix + NAMES[2]]["artist"] == "Claude Monet"
    assert told[prefix + NAMES[3]]["artist"] == "9"  # a class without a name
    bad = rows.filter(pl.col("bad").is_not_null())
    assert bad["source_key"].to_list() == ["Realism/ilya-repin_gone-1870.jpg"]
    assert bad["reason"].to_list() == ["missing_member"]
    assert bad["bad"][0].startswith("genre_train.csv line 2: no picture")


def test_a_table_with_a_header_as_csv_reads_it(tmp_path: Path) -> None:
    table = tmp_path / "classes.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["filename", "artist", "genre", "description", "phash", "year"])
        writer.writerow([NAMES[3], "Andy Warhol", "['still life']", 'Soup, in "cans"', "ab12", "NaN"])
        writer.writerow(["", "nobody", "", "", "", ""])
    with table.open(newline="") as file:
        expected = next(csv.DictReader(file))
    rows = read(folder(tmp_path / "w"), table)
    row = rows.filter(pl.col("source_key") == NAMES[3]).row(0, named=True)
    told = json.loads(row["meta"])
    assert (told["artist"], told["genre"], told["phash"]) == (expected["artist"], expected["genre"], expected["phash"])
    assert told["year"] == "1962"  # the table's NaN tells nothing
    assert row["captions"] == [{"text": expected["description"], "kind": "human", "license": None}]
    assert row["author"] == "Andy Warhol"
    assert rows["bad"].drop_nulls().to_list()[0].startswith("classes.csv line 3")


@pytest.mark.parametrize("as_classes", [True, False])
def test_the_hubs_parquet(tmp_path: Path, as_classes: bool) -> None:
    names = {
        "artist": ["Claude Monet", "Unknown"],
        "style": ["Impressionism", "Realism"],
        "genre": ["landscape", "portrait"],
    }
    label = {
        name: datasets.ClassLabel(names=each) if as_classes else datasets.Value("string")
        for name, each in names.items()
    }
    rows = {
        "image": [{"bytes": jpeg(n), "path": None} for n in range(2)],
        **{name: [0, 1] if as_classes else each for name, each in names.items()},
    }
    made = datasets.Dataset.from_dict(rows, features=datasets.Features({"image": datasets.Image(), **label}))
    (tmp_path / "data").mkdir()
    made.to_parquet(str(tmp_path / "data" / "train-00000-of-00001.parquet"))
    for path in (tmp_path, tmp_path / "data" / "train-00000-of-00001.parquet"):
        found = read(path)
        assert found["source_key"].to_list() == ["train-00000-of-00001.parquet:0", "train-00000-of-00001.parquet:1"]
        assert found["subset"].to_list() == names["style"]
        assert found["author"].to_list() == names["artist"]
        assert json.loads(found["meta"][1]) == {"artist": "Unknown", "style": "Realism", "genre": "portrait"}
        with ArchiveReader(max_bytes=2**20) as reader:
            assert [reader.read(*row) for row in found.select("archive", "member").iter_rows()] == [jpeg(0), jpeg(1)]


PAINTERS = {  # as file names and the Hub's classes have them: as ArtGAN's class files have them
    "claude-monet": "Claude_Monet",
    "vincent-van-gogh": "Vincent_van_Gogh",
    "rembrandt": "Rembrandt",
    "pierre-auguste-renoir": "Pierre_Auguste_Renoir",
    "utagawa-kuniyoshi-ii": None,
}
SHOWN = ["Claude Monet", "Vincent van Gogh", "Rembrandt", "Pierre Auguste Renoir", "Utagawa Kuniyoshi Ii"]


def test_all_forms_call_a_painter_a_style_and_a_genre_the_same(tmp_path: Path) -> None:
    styles, genres = ["Art_Nouveau_Modern", "Cubism", None], ["city_scape", None, "portrait"]
    path = {
        f"{styles[n % 3] or 'Pop_Art'}/{slug}_{n}-1900.jpg": (slug, styles[n % 3] or "Pop_Art", genres[n % 3])
        for n, slug in enumerate(PAINTERS)
    }
    for name in path:
        (tmp_path / "w" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "w" / name).write_bytes(jpeg(1))
    classed = {slug: name for slug, name in PAINTERS.items() if name}
    (tmp_path / "artist_class.txt").write_text("".join(f"{n} {name}\n" for n, name in enumerate(classed.values())))
    numbers = {slug: n for n, slug in enumerate(classed)}
    (tmp_path / "artist_train.csv").write_text(
        "".join(f"{name},{numbers[slug]}\n" for name, (slug, _, _) in path.items() if slug in numbers)
    )
    (tmp_path / "mine.csv").write_text(
        "file,artist,style,genre\n"
        + "".join(f"{name},{slug},{style},{genre or ''}\n" for name, (slug, style, genre) in path.items())
    )
    columns = zip(*path.values(), strict=True)
    hub = {name: list(values) for name, values in zip(("artist", "Style", "genre"), columns, strict=True)}
    pl.DataFrame({"image": [{"bytes": jpeg(1)}] * len(path), **hub}).write_parquet(tmp_path / "h.parquet")
    forms = {
        "folders": [tmp_path / "w"],
        "class files": [tmp_path / "w", tmp_path / "artist_class.txt", tmp_path / "artist_train.csv"],
        "table": [tmp_path / "w", tmp_path / "mine.csv"],
        "Parquet": [tmp_path / "h.parquet"],
    }
    expected = sorted(
        zip(SHOWN, ("Art Nouveau Modern", "Cubism", "Pop Art", "Art Nouveau Modern", "Cubism"), strict=True)
    )
    for form, paths in forms.items():
        rows = read(*paths)
        told = [json.loads(text) for text in rows["meta"]]
        assert sorted((each["artist"], each["style"]) for each in told) == expected, form
        assert sorted(zip(rows["author"], rows["subset"], strict=True)) == expected, form
        if form in ("table", "Parquet"):
            shown = {each["artist"]: each.get("genre") for each in told}
            assert [shown[name] for name in SHOWN] == ["city scape", None, "portrait", "city scape", None]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Jean-Michel Basquiat", "Jean-Michel Basquiat"),  # hyphens of a name in full are its own
        ("le-corbusier", "Le Corbusier"),
        ("m.c.-escher", "M.c. Escher"),
        ("9", "9"),
        ("_", "_"),
        ("\u00e9douard-manet", "\u00c9douard Manet"),
    ],
)
def test_a_painters_name(name: str, expected: str) -> None:
    assert person(name) == expected


def test_imagefolder_of_datasets_sees_the_same_pictures_and_styles(tmp_path: Path) -> None:
    independent = datasets.load_dataset(
        "imagefolder", data_dir=str(folder(tmp_path / "w")), split="train", cache_dir=str(tmp_path / "cache")
    )
    styles = independent.features["label"].names
    rows = read(tmp_path / "w")
    assert sorted(rows["subset"]) == sorted(styles[label].replace("_", " ") for label in independent["label"])


def test_hostile_class_files_and_members(tmp_path: Path) -> None:
    table, path = tmp_path / "style_train.csv", tmp_path / "w.zip"
    table.write_bytes(
        b"\xef\xbb\xbf"
        + NAMES[0].encode()
        + b",1\r\nno comma\r\n\r\n,\r\nCaf\xe9/a_b.jpg,1\r\nlong/"
        + b"x" * 10**6
        + b".jpg,1\r\n"
    )
    with zipfile.ZipFile(path, "w") as file:
        for name in (NAMES[0], "../../etc/x.jpg", "/abs/y.jpg", "__MACOSX/._z.jpg", "notes.txt"):
            file.writestr(name, jpeg(1))
    rows = read(table, path)
    assert rows.filter(pl.col("bad").is_null())["source_key"].to_list() == [NAMES[0]]
    reasons = rows.filter(pl.col("bad").is_not_null())["reason"].to_list()
    assert reasons.count("unsafe_member") == 2
    told = rows["bad"].drop_nulls()
    assert told.str.contains("style_train.csv line 2").any() and told.str.contains("style_train.csv line 4").any()


def test_what_is_no_wikiart(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    pictures = zipped(tmp_path / "w.zip")
    sbu = tmp_path / "artist_train.csv"
    sbu.write_text("http://a/1\nhttp://a/2\n")
    cases: list[tuple[list[Path], str]] = [
        ([tmp_path / "empty"], "no pictures"),
        ([sbu], "without its pictures"),
        ([sbu, pictures], "a list of URLs"),
        ([tmp_path / "genre_class.txt", pictures], "no such file"),
        ([], "needs its pictures"),
    ]
    for paths, said in cases:
        with pytest.raises(CaptionlakeError, match=said) as caught:
            read(*paths)
        assert "\n" not in str(caught.value)


def test_a_cut_zip_keeps_what_is_whole(tmp_path: Path) -> None:
    path = zipped(tmp_path / "w.zip")
    path.write_bytes(path.read_bytes()[:2500])
    rows = read(path)
    assert rows.filter(pl.col("bad").is_null()).height >= 1
    assert "truncated" in rows["reason"].to_list()
