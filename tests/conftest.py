"""What many tests use: real photographs from installed packages, and lakes made of them."""

import hashlib
import io
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from PIL import Image

from captionlake.lake import Lake

hypothesis.settings.register_profile("captionlake", deadline=None)  # machines are shared: a slow example is no failure
hypothesis.settings.load_profile("captionlake")

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")


def jpeg(image: Image.Image, quality: int = 90) -> bytes:
    """The picture as JPEG bytes, the same each time."""
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def nobody_reads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read beside most tests, so that no snapshot needs its moment before it is let go."""
    if "readers" not in request.keywords:
        monkeypatch.setattr("captionlake.lake.maintenance._SETTLE_SECONDS", 0.0)


@pytest.fixture(scope="session")
def empty_lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake whose tables have held a row each: DuckLake asks its catalog once more for each column of a table that never held any,
    0.1 s of CPU a query on ``images``."""
    folder = tmp_path_factory.mktemp("empty") / "lake"
    with Lake.init(folder) as lake:
        tables: dict[str, list[str]] = {}
        columns = "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE database_name = 'lake'"
        for table, column, kind in lake.rows(columns):
            value = {"VARCHAR": "''", "JSON": "'{}'"}.get(kind, "[]" if kind.endswith("[]") else "0")
            tables.setdefault(table, []).append(f'{"now()" if "TIME" in kind else value} AS "{column}"')
        del tables["lake_info"]
        lake.commit(
            lambda c: [c.execute(f"INSERT INTO {name} BY NAME SELECT {', '.join(row)}") for name, row in tables.items()]
        )
        lake.commit(lambda c: [c.execute(f"DELETE FROM {name}") for name in tables])
    return folder


@pytest.fixture(scope="session")
def new_lake(empty_lake: Path) -> Callable[[Path], Lake]:
    """``new_lake(folder)``: a new lake there, a copy of an empty one, which is quicker than making it.

    DuckDB has one thread in it, as tests run side by side, and a second one costs more than it brings with so few rows. Commands
    and recipes that are tested open their lakes themselves, with all threads.
    """

    def make(folder: Path) -> Lake:
        lake = Lake.open(shutil.copytree(empty_lake, folder))
        lake.connection.execute("SET threads = 1")
        return lake

    return make


@pytest.fixture
def lake(new_lake: Callable[[Path], Lake], tmp_path: Path) -> Iterator[Lake]:
    with new_lake(tmp_path / "lake") as opened:
        yield opened


@pytest.fixture(scope="session")
def photographs() -> dict[str, Image.Image]:
    """Photographs of scikit-image and scikit-learn by name."""
    import skimage.data
    from sklearn.datasets import load_sample_image

    pictures = {
        name: getattr(skimage.data, name)()
        for name in ("astronaut", "chelsea", "coffee", "rocket", "hubble_deep_field")
    }
    pictures |= {"china": load_sample_image("china.jpg"), "flower": load_sample_image("flower.jpg")}
    return {name: Image.fromarray(np.asarray(array)) for name, array in pictures.items()}


@pytest.fixture(scope="session")
def tiles(photographs: dict[str, Image.Image]) -> Callable[[int], list[bytes]]:
    """``tiles(n)``: n different small JPEGs cut from the photographs, always the same ones."""

    def cut(count: int) -> list[bytes]:
        found: dict[str, bytes] = {}
        size, step = 64, 21
        for top in range(0, 400, step):
            for left in range(0, 400, step):
                for image in photographs.values():
                    if left + size <= image.width and top + size <= image.height:
                        data = jpeg(image.crop((left, top, left + size, top + size)))
                        found.setdefault(hashlib.sha256(data).hexdigest(), data)
                if len(found) >= count:
                    return list(found.values())[:count]
        raise AssertionError(f"only {len(found)} tiles")

    return cut


@pytest.fixture
def tile_folder(tmp_path: Path, tiles: Callable[[int], list[bytes]]) -> Callable[[int], Path]:
    """``tile_folder(n)``: a folder of n small JPEGs with a metadata.csv of captions."""

    def make(count: int) -> Path:
        folder = tmp_path / "tiles"
        folder.mkdir()
        lines = ["file_name,caption,license,author,mood"]
        for number, data in enumerate(tiles(count)):
            (folder / f"{number:05d}.jpg").write_bytes(data)
            lines.append(f"{number:05d}.jpg,Tile number {number} of a photograph,CC0-1.0,Somebody,mood {number % 3}")
        (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
        return folder

    return make
