"""Decontamination of a lake of real photographs, with a tiny model of RANDOM weights: what must hold whatever they are."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from captionlake.cli import captionlake
from captionlake.curation import decontamination
from captionlake.curation.cosine import exact_cosine
from captionlake.curation.decontamination import Contamination, DecontaminateConfig, decontaminate
from captionlake.curation.embedding import EmbedConfig, embed
from captionlake.curation.encoder import Encoder
from captionlake.curation.join import JoinConfig, cross_pairs
from captionlake.curation.model import load_model
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.ingest import ingest
from captionlake.lake.ingest_config import IngestConfig

from ..official import benchmarks as official

NAME = "random-weights-vit"
CONTAMINATION = "SELECT image_id, benchmark, item, similarity, model_id FROM contamination ORDER BY ALL"


def config(*against: Path, **options: Any) -> DecontaminateConfig:
    return DecontaminateConfig(against=tuple(map(str, against)), **options)


def fill(lake: Lake, folder: Path, pictures: dict[str, bytes], collection: str) -> None:
    folder.mkdir(parents=True)
    for name, data in pictures.items():
        (folder / f"{name}.jpg").write_bytes(data)
    ingest(lake, IngestConfig(source="folder", inputs=[str(folder)], collection=collection))


@pytest.fixture
def filled(lake: Lake, tmp_path: Path, photographs: dict[str, bytes]) -> Lake:
    """The photographs in full size: two collections, and in each a blank picture."""
    full = {name: data for name, data in photographs.items() if name.endswith("full")}
    for collection, names in (("coco", ["astronaut", "camera", "coffee"]), ("web", ["chelsea", "rocket", "coffee"])):
        pictures = {name: full[f"{name}-full"] for name in names}
        pictures["blank"] = picture(Image.new("RGB", (64, 64), "white" if collection == "coco" else "navy"))
        fill(lake, tmp_path / collection, pictures, collection)
    return lake


def picture(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


@pytest.fixture
def model(random_clip: Callable[..., Path]) -> Encoder:
    return load_model(EmbedConfig(model=NAME, pretrained=str(random_clip()), device="cpu"))


@pytest.fixture
def bench(tmp_path: Path, photographs: dict[str, bytes]) -> Path:
    """A benchmark with one picture of the lake, one of its pictures smaller, a blank one, and one that is not there."""
    shown = {"a": photographs["astronaut-full"], "b": photographs["chelsea-small"]}
    shown["c"] = picture(Image.new("RGB", (80, 80), "green"))
    shown["d"] = picture(Image.effect_mandelbrot((200, 200), (-2.0, -1.5, 1.0, 1.5), 100).convert("RGB"))
    return official.mmbench(tmp_path / "mmbench_dev.tsv", shown)


def by_hand(lake: Lake, model_id: str, name: str) -> str:
    (row,) = lake.rows("SELECT DISTINCT image_id FROM images WHERE source_key = ?", [f"{name}.jpg"])
    return str(row[0])


def test_by_bytes_and_perceptual_hash_without_a_model(filled: Lake, bench: Path) -> None:
    (counts,) = decontaminate(filled, config(bench))
    assert (counts.items, counts.pictures, counts.unread, counts.found) == (8, 4, {}, 2)
    assert (counts.by_bytes, counts.by_phash, counts.by_clip, counts.images) == (1, 2, None, 2)
    assert counts.collections == {"coco": 1, "web": 1}
    assert "no model was given" in counts.notes[0]
    rows = filled.rows(CONTAMINATION)
    assert len(rows) == counts.rows == 4  # two questions show each picture
    assert {row[1] for row in rows} == {"mmbench"}
    astronaut, chelsea = (by_hand(filled, "", name) for name in ("astronaut", "chelsea"))
    assert {(row[0], row[2], row[4]) for row in rows} == {
        (astronaut, "mmbench_dev.tsv:index 241", "sha256"),
        (astronaut, "mmbench_dev.tsv:index 1000241", "sha256"),
        (chelsea, "mmbench_dev.tsv:index 242", "phash"),
        (chelsea, "mmbench_dev.tsv:index 1000242", "phash"),
    }
    assert {row[3] for row in rows if row[4] == "sha256"} == {1.0}
    assert all(1 - 4 / 64 <= row[3] <= 1 for row in rows)


def test_by_clip_at_the_threshold(filled: Lake, bench: Path, random_clip: Callable[..., Path], model: Encoder) -> None:
    embed(filled, EmbedConfig(model=NAME, pretrained=str(random_clip()), device="cpu"))
    lake_vectors = {
        row[0]: np.array(row[1], np.float32) for row in filled.rows("SELECT image_id, vector FROM embeddings")
    }
    chelsea = by_hand(filled, model.model_id, "chelsea")
    from captionlake.curation.benchmark_pictures import read_pictures
    from captionlake.curation.benchmarks import benchmarks_in

    read = read_pictures(benchmarks_in(bench)[0], model)
    assert read.vectors is not None
    expected = {
        (image_id, place): exact_cosine(vector, read.vectors[place])
        for image_id, vector in lake_vectors.items()
        for place in range(len(read.vectors))
    }
    place = dict(read.items)["mmbench_dev.tsv:index 242"]
    threshold = expected[chelsea, place]
    (counts,) = decontaminate(filled, config(bench, threshold=threshold, phash_distance=0), model=model)
    near = {pair for pair, cosine in expected.items() if cosine >= threshold}
    assert counts.by_clip == len({image_id for image_id, _ in near})
    (row,) = filled.rows(
        "SELECT similarity, model_id FROM contamination WHERE image_id = ? AND item = 'mmbench_dev.tsv:index 242'",
        [chelsea],
    )
    assert row == (threshold, model.model_id)
    assert not any("no model" in note for note in counts.notes)


def test_without_embeddings_or_with_some_it_says_so(
    filled: Lake, tmp_path: Path, bench: Path, random_clip: Callable[..., Path], model: Encoder,
    photographs: dict[str, bytes],
) -> None:  # fmt: skip
    (counts,) = decontaminate(filled, config(bench), model=model)
    assert counts.by_clip is None
    assert "no picture of the lake is embedded" in counts.notes[0]
    embed(filled, EmbedConfig(model=NAME, pretrained=str(random_clip()), device="cpu"))
    fill(filled, tmp_path / "more", {"small": photographs["rocket-small"]}, "late")
    (counts,) = decontaminate(filled, config(bench), model=model)
    assert counts.by_clip is not None
    assert "1 of the lake's 8 pictures have no vector" in counts.notes[0]


def test_a_rerun_replaces_the_rows_of_its_benchmark_alone(
    filled: Lake, tmp_path: Path, bench: Path, photographs: dict[str, bytes]
) -> None:
    other = official.mm_vet(tmp_path / "vet", {"r": photographs["rocket-full"]})
    first = decontaminate(filled, config(bench, other))
    rows = filled.rows(CONTAMINATION)
    assert [one.rows for one in first] == [4, 1]
    again = decontaminate(filled, config(bench, other))
    assert [one.rows for one in again] == [4, 1]
    assert filled.rows(CONTAMINATION) == rows
    official.mmbench(bench, {"x": photographs["coffee-full"]})
    decontaminate(filled, config(bench))
    assert [row[:2] for row in filled.rows("SELECT benchmark, count(*) FROM contamination GROUP BY 1 ORDER BY 1")] == [
        ("mm-vet", 1),
        ("mmbench", 2),
    ]
    notes = filled.rows("SELECT target, detail, counts FROM runs WHERE step = 'decontaminate' ORDER BY created_at")
    assert [note[0] for note in notes] == ["mmbench", "mm-vet", "mmbench", "mm-vet", "mmbench"]
    assert json.loads(notes[-1][1]) == {
        "files": ["mmbench_dev.tsv"], "threshold": 0.95, "phash_distance": 4, "model_id": None
    }  # fmt: skip
    assert json.loads(notes[-1][2])["collections"] == {"coco": 1, "web": 1}


def test_nothing_is_left_half_done(filled: Lake, bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decontaminate(filled, config(bench))
    rows = filled.rows(CONTAMINATION)
    monkeypatch.setattr(decontamination, "files", lambda _: Broken())
    with pytest.raises(CaptionlakeError):
        decontaminate(filled, config(bench))
    assert filled.rows(CONTAMINATION) == rows


class Broken:
    def joinpath(self, _: str) -> "Broken":
        return self

    def read_text(self) -> str:
        return "INSERT INTO lake.contamination SELECT no_such_column FROM _matches"


def test_bad_pictures_are_counted_with_their_reasons(
    filled: Lake, tmp_path: Path, photographs: dict[str, bytes]
) -> None:
    folder = tmp_path / "held-out"
    folder.mkdir()
    (folder / "good.jpg").write_bytes(photographs["rocket-full"])
    (folder / "cut.jpg").write_bytes(photographs["coffee-full"][:2000])
    (folder / "page.png").write_bytes(b"<!doctype html>")
    (folder / "empty.png").write_bytes(b"")
    (folder / "<script>\x1b[31m.jpg").write_bytes(photographs["rocket-full"])
    (folder / b"\xff\xfe.jpg".decode("utf-8", "surrogateescape")).write_bytes(photographs["rocket-full"])
    (folder / "link.jpg").symlink_to("/etc/hostname")
    (counts,) = decontaminate(filled, config(folder))
    assert counts.unread == {"truncated": 1, "not_an_image": 2, "bad_row": 2, "unsafe_member": 1}
    assert (counts.items, counts.pictures, counts.by_bytes) == (7, 1, 1)
    assert counts.benchmark == "held-out"


def test_an_empty_folder_is_an_error_and_nothing_is_written(filled: Lake, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    snapshot = filled.snapshot()
    with pytest.raises(CaptionlakeError, match="no picture in"):
        decontaminate(filled, config(tmp_path / "empty"))
    assert filled.snapshot() == snapshot


def test_two_of_one_name_are_refused(filled: Lake, tmp_path: Path, photographs: dict[str, bytes]) -> None:
    one = official.mm_vet(tmp_path / "one", {"r": photographs["rocket-full"]})
    two = official.mm_vet(tmp_path / "two", {"r": photographs["rocket-full"]})
    with pytest.raises(CaptionlakeError, match=r"two of the benchmarks are called mm-vet"):
        decontaminate(filled, config(one, two))


@pytest.mark.parametrize(
    "options",
    [{"threshold": 0}, {"threshold": 1.5}, {"threshold": float("nan")}, {"phash_distance": -1}, {"phash_distance": 65}],
)
def test_values_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        config(Path("x"), **options)
    with pytest.raises(ValueError):
        DecontaminateConfig(against=())
    with pytest.raises(ValueError, match="names the benchmark of one folder"):
        config(Path("x"), Path("y"), benchmark="z")


def test_the_command(filled: Lake, bench: Path, random_clip: Callable[..., Path]) -> None:
    filled.close()
    lake = ["--lake", str(filled.path)]
    model = ["--model", NAME, "--pretrained", str(random_clip())]
    call("embed", *model, "--device", "cpu", *lake)
    found = json.loads(call("decontaminate", "--against", str(bench), *model, *lake, "--json"))
    (counts,) = found["benchmarks"]
    assert counts["benchmark"] == "mmbench"
    assert counts["by_clip"] >= 1
    assert set(counts) == set(Contamination.__dataclass_fields__)
    text = call("decontaminate", "--against", str(bench), "--benchmark", "evil\x1b[2J<b>", *lake)
    assert "evil\\x1b[2J<b>" in text
    assert "\x1b" not in text
    assert "no model was given" in text


def call(*arguments: str) -> str:
    result = CliRunner().invoke(captionlake, list(arguments))
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result.stdout


@pytest.mark.parametrize("block", [1, 3, 64])
def test_cross_pairs_are_those_of_all_pairs(block: int) -> None:
    chance = np.random.default_rng(block)
    left, right = (chance.normal(size=(n, 8)).astype(np.float32) for n in (50, 9))
    left[7], left[8] = right[2], -right[3]
    left, right = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (left, right))
    for threshold in (0.2, float(exact_cosine(left[0], right[0])), 1.0, -1.0):
        i, j, similarity = cross_pairs(left, right, threshold, JoinConfig(block=block))
        cosines = {(a, b): exact_cosine(left[a], right[b]) for a in range(50) for b in range(9)}
        expected = [pair for pair, cosine in sorted(cosines.items()) if cosine >= threshold]
        assert list(zip(i.tolist(), j.tolist(), strict=True)) == expected
        assert np.allclose(similarity, [cosines[pair] for pair in expected], atol=1e-12, rtol=0)
    none = np.empty((0, 8), np.float32)
    assert len(cross_pairs(left, none, 0.5)[0]) == len(cross_pairs(none, right, 0.5)[0]) == 0
