"""The soak's surroundings: pictures on a disk and behind a server, a model of RANDOM weights, a teacher that makes things up."""

import csv
import random
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.curation.conftest import _save_random_clip
from tests.lake.image_server import ImageServer, jpeg
from tests.models.teacher_server import TeacherServer

RECIPE = """
lake = "{lake}"
[[ingest]]
source = "folder"
inputs = ["a"]
collection = "a"
[[ingest]]
source = "folder"
inputs = ["b"]
collection = "b"
[select]
seed = {seed}
[[select.quota]]
collection = "a"
count = "all"
[[select.quota]]
collection = "b"
count = "all"
[caption]
captioner = "openai:test-model"
[caption.endpoint]
base_url = "{url}"
price = "free"
[release]
name = "soak"
version = "{version}"
"""


class World:
    """``root`` holds folders of pictures that grow, lists of URLs, and recipes; servers run inside a ``with``."""

    def __init__(self, root: Path, lake: Path, chance: random.Random, *, model: bool = True) -> None:
        self.root, self.lake, self.chance = root, lake, chance
        self.pictures = ImageServer()
        self.teacher = TeacherServer(latency=0.02)
        self._seed = 0
        self._urls: list[str] = []
        self.releases = 0
        for name in ("a", "b", "out"):
            (root / name).mkdir(parents=True, exist_ok=True)
        self.model = _save_random_clip(root / "random-weights", 0, 32) if model else None

    def __enter__(self) -> Self:
        self.pictures.__enter__()
        self.teacher.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.teacher.__exit__(kind, error, trace)
        self.pictures.__exit__()

    def grow(self, name: str) -> list[tuple[str, str]]:
        """More pictures in a folder, some broken, some that the other folder has too. Returns its rows (source, key)."""
        folder = self.root / name
        for _ in range(self.chance.randint(3, 12)):
            self._seed += 1
            number = self.chance.randint(1, self._seed)  # at times one that is there already, under another name
            data = jpeg(number, 96, 64)
            if self.chance.random() < 0.08:
                data = data[: len(data) // 2] if self.chance.random() < 0.5 else b"no picture"
            (folder / f"{self._seed:05d}.jpg").write_bytes(data)
        return [(f"folder-{name}", path.name) for path in folder.iterdir()]

    def list_urls(self) -> tuple[Path, list[tuple[str, str]]]:
        """A list of URLs, longer each time, some of which fail. Returns it and its rows."""
        for _ in range(self.chance.randint(2, 6)):
            kind = self.chance.random()
            number = len(self._urls)
            path = (
                f"/image/{number % 97}?n={number}"
                if kind < 0.8
                else f"/status/{self.chance.choice([404, 403])}?n={number}"
            )
            self._urls.append(self.pictures.url(path))
        written = self.root / f"list-{len(self._urls)}.csv"
        with written.open("w", newline="") as file:
            csv.writer(file).writerows([["url"], *([url] for url in self._urls)])
        return written, [("web", url) for url in self._urls]

    def recipe(self, *, new: bool) -> Path:
        """A recipe of the newest version, or of the next one."""
        self.releases += new or not self.releases
        path = self.root / f"recipe-{self.releases}.toml"
        told = {"lake": self.lake, "seed": self.releases, "url": self.teacher.url, "version": f"1.0.{self.releases}"}
        path.write_text(RECIPE.format(**told))
        return path
