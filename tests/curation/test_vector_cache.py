"""The cache of vectors: equal to the lake whatever happened to lake and cache in between."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from captionlake.curation import vector_cache
from captionlake.curation.cosine import Vectors
from captionlake.curation.vector_cache import CachedVectors, cached_vectors, vectors_folder
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.cache import cache_folder, drop_cache

AddVectors = Callable[[Lake, str, list[str], Vectors], None]
D = 12


def made(first: int, count: int) -> tuple[list[str], Vectors]:
    ids = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(first, first + count)]
    wide = np.random.default_rng(first).normal(size=(count, D))
    return ids, (wide / np.linalg.norm(wide, axis=1, keepdims=True)).astype(np.float32)


def same_as_lake(lake: Lake, cached: CachedVectors, model_id: str = "m") -> None:
    stored = {
        row[0]: row[1] for row in lake.rows("SELECT image_id, vector FROM embeddings WHERE model_id = ?", [model_id])
    }
    assert cached.ids().to_pylist() == [cached.id_at(row) for row in range(len(cached))]
    assert {key: row.tolist() for key, row in zip(cached.ids().to_pylist(), cached.vectors, strict=True)} == stored
    assert len(cached) == len(stored)


def files(lake: Lake, model_id: str = "m") -> dict[str, int]:
    folder = vectors_folder(lake.path, model_id)
    return {path.name: path.stat().st_ino for path in folder.iterdir() if path.suffix in (".f32", ".ids")}


def test_it_holds_what_the_lake_holds_and_grows_with_it(lake: Lake, add_vectors: AddVectors) -> None:
    add_vectors(lake, "m", *made(0, 50))
    add_vectors(lake, "other", *made(0, 7))
    first = cached_vectors(lake, "m")
    same_as_lake(lake, first)
    same_as_lake(lake, cached_vectors(lake, "other"), "other")
    before = files(lake)
    add_vectors(lake, "m", *made(50, 30))
    grown = cached_vectors(lake, "m")
    same_as_lake(lake, grown)
    assert files(lake) == before  # appended to, not written anew
    assert len(first) == 50  # what was open stays as it was
    assert grown.vectors[:50].tolist() == first.vectors.tolist()
    assert first.deviation < 1e-6


def test_nothing_is_read_when_nothing_was_written(
    lake: Lake, add_vectors: AddVectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_vectors(lake, "m", *made(0, 5))
    cached_vectors(lake, "m")
    monkeypatch.setattr(vector_cache, "embedded_set", None)
    same_as_lake(lake, cached_vectors(lake, "m"))


def test_another_write_to_the_lake_leaves_the_files(lake: Lake, add_vectors: AddVectors) -> None:
    add_vectors(lake, "m", *made(0, 5))
    cached_vectors(lake, "m")
    before = files(lake)
    add_vectors(lake, "other", *made(9, 3))
    same_as_lake(lake, cached_vectors(lake, "m"))
    assert files(lake) == before


def test_rows_that_are_gone_leave_the_cache(lake: Lake, add_vectors: AddVectors) -> None:
    ids, vectors = made(0, 20)
    add_vectors(lake, "m", ids, vectors)
    old = cached_vectors(lake, "m")
    before = files(lake)
    lake.commit(lambda c: c.execute("DELETE FROM lake.embeddings WHERE image_id = ?", [ids[3]]).fetchall())
    add_vectors(lake, "m", *made(50, 1))  # as many as before
    new = cached_vectors(lake, "m")
    same_as_lake(lake, new)
    assert ids[3] not in new.ids().to_pylist()
    assert not set(files(lake)) & set(before)
    assert old.vectors[3].tolist() in vectors.tolist()  # who had the old files mapped can still read them


def break_state(folder: Path) -> None:
    (folder / "state.json").write_text("{")


def cut_vectors(folder: Path) -> None:
    for path in folder.glob("*.f32"):
        path.write_bytes(path.read_bytes()[:-4])


def lose_ids(folder: Path) -> None:
    for path in folder.glob("*.ids"):
        path.unlink()


def other_format(folder: Path) -> None:
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps(state | {"format": 99}))


def odd_state(folder: Path) -> None:
    (folder / "state.json").write_text('["no", "object"]')


def another_model(folder: Path) -> None:
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps(state | {"model_id": "x"}))


@pytest.mark.parametrize(
    "harm", [shutil.rmtree, break_state, cut_vectors, lose_ids, other_format, odd_state, another_model]
)
def test_a_cache_that_is_not_whole_is_made_anew(
    lake: Lake, add_vectors: AddVectors, harm: Callable[[Path], None]
) -> None:
    add_vectors(lake, "m", *made(0, 20))
    cached_vectors(lake, "m")
    harm(vectors_folder(lake.path, "m"))
    same_as_lake(lake, cached_vectors(lake, "m"))


def test_what_an_interrupted_append_left_is_written_over(lake: Lake, add_vectors: AddVectors) -> None:
    add_vectors(lake, "m", *made(0, 20))
    cached_vectors(lake, "m")
    for path in vectors_folder(lake.path, "m").glob("*.[fi]*"):
        with path.open("ab") as file:
            file.write(b"left behind" * 7)
    same_as_lake(lake, cached_vectors(lake, "m"))
    add_vectors(lake, "m", *made(20, 5))
    same_as_lake(lake, cached_vectors(lake, "m"))


_KILLED = """
import os, signal, sys
from captionlake.curation import vector_cache
from captionlake.lake import Lake, durable
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
setattr(vector_cache if sys.argv[2].startswith("_") else durable, sys.argv[2], die)
vector_cache.cached_vectors(Lake.open(sys.argv[1]), "m")
"""


@pytest.mark.parametrize("place", ["_place_state", "sync_folder"])
def test_a_killed_process_leaves_a_cache_that_is_right(lake: Lake, add_vectors: AddVectors, place: str) -> None:
    add_vectors(lake, "m", *made(0, 20))
    for count in (20, 25):  # as it is written, and as it is appended to
        command = [sys.executable, "-c", _KILLED, str(lake.path), place]
        assert subprocess.run(command, check=False).returncode == -9
        same_as_lake(lake, cached_vectors(lake, "m"))
        add_vectors(lake, "m", *made(count, 5))


def test_several_processes_at_once(lake: Lake, add_vectors: AddVectors) -> None:
    add_vectors(lake, "m", *made(0, 200))
    code = (
        "import sys; from captionlake.curation.vector_cache import cached_vectors; from captionlake.lake import Lake; "
        "print(len(cached_vectors(Lake.open(sys.argv[1]), 'm')))"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(lake.path)], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert [process.communicate()[0].strip() for process in running] == ["200"] * 4
    assert len(files(lake)) == 2


def test_what_cannot_be_cached_is_one_line(lake: Lake, add_vectors: AddVectors) -> None:
    with pytest.raises(CaptionlakeError, match="captionlake embed"):
        cached_vectors(lake, "m")
    ids, vectors = made(0, 3)
    add_vectors(lake, "long", ids, vectors * 2)
    add_vectors(lake, "nan", ids, vectors * np.float32("nan"))
    add_vectors(lake, "short", ids[:1], vectors[:1, :5] / np.linalg.norm(vectors[:1, :5]))
    add_vectors(lake, "short", ids[1:], vectors[1:])
    add_vectors(lake, "odd", ["no hash"], vectors[:1])
    for model_id, said in (("long", "unit"), ("nan", "unit"), ("short", "differ in length"), ("odd", "no SHA-256")):
        with pytest.raises(CaptionlakeError, match=said):
            cached_vectors(lake, model_id)


def test_all_of_it_goes_at_once(lake: Lake, add_vectors: AddVectors) -> None:
    add_vectors(lake, "m", *made(0, 3))
    cached_vectors(lake, "m")
    assert cache_folder(lake.path).is_dir()
    drop_cache(lake.path)
    assert not cache_folder(lake.path).exists()
    same_as_lake(lake, cached_vectors(lake, "m"))
