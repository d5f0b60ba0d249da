"""WikiArt in its two forms: ArtGAN's folders by style with class files, and the Hub's Parquet (huggan/wikiart).

Folders: ``wikiart/STYLE/artist_title-year.jpg``; ``style_train.csv`` and ``style_val.csv`` have a path and a class number a
line, without a header, and ``style_class.txt`` a number and a name a line; likewise for artist and genre, which name only
some of the pictures. Parquet: ``image`` (bytes and path) and the class numbers ``artist``, ``genre``, ``style``, whose names
stand in the file's own metadata.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

STYLES = ["Abstract_Expressionism", "Art_Nouveau_Modern", "Impressionism", "Ukiyo_e"]
ARTISTS = ["albrecht-dürer", "claude-monet", "hiroshige"]
GENRES = ["landscape", "portrait"]


def names(count: int) -> list[str]:
    """Paths within the folder."""
    return [
        f"{STYLES[number % 4]}/{ARTISTS[number % 3]}_picture-number-{number}-{1850 + number % 90}.jpg"
        for number in range(count)
    ]


def lay_out(folder: Path, pictures: Sequence[bytes]) -> list[str]:
    """Write ``wikiart/`` and the class files beside it into ``folder``. Returns the paths within ``wikiart/``."""
    paths = names(len(pictures))
    for path, picture in zip(paths, pictures, strict=True):
        (folder / "wikiart" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "wikiart" / path).write_bytes(picture)
    for kind, classes, cycle in (("style", STYLES, 4), ("artist", ARTISTS, 3), ("genre", GENRES, 2)):
        lines = [f"{path},{number % cycle}" for number, path in enumerate(paths) if kind != "genre" or number % 3]
        cut = len(lines) * 7 // 10
        (folder / f"{kind}_train.csv").write_text("".join(f"{line}\n" for line in lines[:cut]))
        (folder / f"{kind}_val.csv").write_text("".join(f"{line}\n" for line in lines[cut:]))
        (folder / f"{kind}_class.txt").write_text("".join(f"{n} {name}\n" for n, name in enumerate(classes)))
    return paths


def lay_out_parquet(folder: Path, pictures: Sequence[bytes]) -> Path:
    """Write one file of the Hub's form into ``folder``."""
    folder.mkdir(parents=True)
    count = len(pictures)
    images = [{"bytes": picture, "path": None} for picture in pictures]
    table = pa.table(
        {
            "image": pa.array(images, pa.struct({"bytes": pa.binary(), "path": pa.string()})),
            "artist": pa.array([number % 3 for number in range(count)], pa.int64()),
            "genre": pa.array([number % 2 for number in range(count)], pa.int64()),
            "style": pa.array([number % 4 for number in range(count)], pa.int64()),
        }
    )
    classes = {"artist": ARTISTS, "genre": GENRES, "style": STYLES}
    features: dict[str, object] = {"image": {"_type": "Image"}}
    features |= {name: {"names": known, "_type": "ClassLabel"} for name, known in classes.items()}
    told = {"huggingface": json.dumps({"info": {"features": features}})}
    path = folder / "train-00000-of-00001.parquet"
    pq.write_table(table.replace_schema_metadata(told), path, row_group_size=100)
    return path
