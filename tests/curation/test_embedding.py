"""Embedding with a tiny model of RANDOM weights: what must hold whatever the weights are."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from captionlake.curation import embedding
from captionlake.curation.embed_plan import plan_embedding
from captionlake.curation.embedding import EmbedConfig, EmbedCounts, embed
from captionlake.curation.encoder import Encoder
from captionlake.curation.model import load_model, model_id
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake

AddPictures = Callable[..., list[str]]
RandomClip = Callable[..., Path]
NewLake = Callable[[Path], Lake]
NAME = "random-weights-vit"


def config(folder: Path, **options: Any) -> EmbedConfig:
    settings = {"device": "cpu", "precision": "fp32", **options}
    return EmbedConfig(model=NAME, pretrained=str(folder), **settings)


def vectors(lake: Lake) -> dict[str, npt.NDArray[np.float32]]:
    rows = lake.rows("SELECT image_id, vector FROM embeddings")
    return {image_id: np.array(vector, dtype=np.float32) for image_id, vector in rows}


def test_each_distinct_picture_gets_one_unit_vector(
    lake: Lake, add_pictures: AddPictures, photographs: dict[str, bytes], random_clip: RandomClip
) -> None:
    ids = add_pictures(lake, photographs)
    add_pictures(lake, photographs, source="again")
    counts = embed(lake, config(random_clip()))
    assert counts == EmbedCounts(
        model_id=model_id(config(random_clip())), images=len(ids), present=0, embedded=len(ids)
    )
    rows = lake.rows("SELECT image_id, model_id, vector FROM embeddings")
    assert sorted(row[0] for row in rows) == sorted(ids)
    assert {row[1] for row in rows} == {counts.model_id}
    lengths = [np.linalg.norm(np.array(row[2], dtype=np.float32).astype(np.float64)) for row in rows]
    assert np.abs(np.array(lengths) - 1).max() < 1e-6
    assert len({tuple(row[2]) for row in rows}) == len(ids)
    again = embed(lake, config(random_clip()))
    assert (again.present, again.embedded) == (len(ids), 0)


def test_vectors_are_those_of_open_clip_itself(
    lake: Lake, add_pictures: AddPictures, photographs: dict[str, bytes], random_clip: RandomClip
) -> None:
    import io

    import open_clip
    import torch
    from PIL import Image

    small = {name: data for name, data in photographs.items() if "small" in name}  # none is decoded reduced
    add_pictures(lake, small)
    folder = random_clip(size=96)
    embed(lake, config(folder, batch_size=3))
    network, transform = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    network.eval()
    found = vectors(lake)
    for data in small.values():
        with torch.inference_mode():
            batch = transform(Image.open(io.BytesIO(data)).convert("RGB")).unsqueeze(0)
            expected = network.encode_image(batch, normalize=True)[0].numpy()
        assert found[hashlib.sha256(data).hexdigest()] @ expected > 0.99999


@pytest.mark.parametrize(
    "options", [{"batch_size": 1}, {"batch_size": 64, "threads": 1}, {"batch_size": 3, "threads": 5}]
)
def test_batches_threads_and_order_do_not_change_a_vector(
    lake: Lake,
    new_lake: NewLake,
    tmp_path: Path,
    add_pictures: AddPictures,
    photographs: dict[str, bytes],
    random_clip: RandomClip,
    options: dict[str, int],
) -> None:
    add_pictures(lake, photographs)
    embed(lake, config(random_clip(), batch_size=4))
    with new_lake(tmp_path / "other") as other:
        add_pictures(other, dict(reversed(photographs.items())))
        embed(other, config(random_clip(), **options))
        one, two = vectors(lake), vectors(other)
    assert one.keys() == two.keys()
    assert max(np.abs(one[key] - two[key]).max() for key in one) < 1e-5


class Stops:
    """A real model that stops, as if killed, after some batches."""

    def __init__(self, model: Encoder, batches: int) -> None:
        self._model, self._left = model, batches

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def vectors(self, pictures: Any) -> Any:
        if self._left == 0:
            raise KeyboardInterrupt
        self._left -= 1
        return self._model.vectors(pictures)


def test_a_stopped_run_goes_on_where_it_stopped(
    lake: Lake,
    new_lake: NewLake,
    tmp_path: Path,
    add_pictures: AddPictures,
    photographs: dict[str, bytes],
    random_clip: RandomClip,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(embedding, "COMMIT_EVERY", 4)
    add_pictures(lake, photographs)
    settings = config(random_clip(), batch_size=2)
    model = load_model(settings)
    stopping: Any = Stops(model, batches=3)
    with pytest.raises(KeyboardInterrupt):
        embed(lake, settings, model=stopping)
    assert len(vectors(lake)) == 4
    first = vectors(lake)
    counts = embed(lake, settings, model=model)
    assert (counts.images, counts.present, counts.embedded) == (10, 4, 6)
    with new_lake(tmp_path / "other") as other:
        add_pictures(other, photographs)
        embed(other, settings, model=model)
        whole = vectors(other)
    found = vectors(lake)
    assert found.keys() == whole.keys()
    assert all((found[key] == first[key]).all() for key in first)
    assert max(np.abs(found[key] - whole[key]).max() for key in whole) < 1e-5


def test_pictures_of_later_shards_are_found_and_others_left_alone(
    lake: Lake, add_pictures: AddPictures, photographs: dict[str, bytes], random_clip: RandomClip
) -> None:
    names = list(photographs)
    add_pictures(lake, {name: photographs[name] for name in names[:3]})
    embed(lake, config(random_clip()))
    add_pictures(lake, {name: photographs[name] for name in names[2:]}, source="later")
    counts = embed(lake, config(random_clip()))
    assert (counts.images, counts.present, counts.embedded) == (10, 3, 7)
    assert lake.value("SELECT count(*) FROM embeddings") == 10


def test_the_id_names_weights_architecture_and_preprocessing(random_clip: RandomClip, tmp_path: Path) -> None:
    plain = model_id(config(random_clip()))
    assert re.fullmatch(rf"{NAME}:[0-9a-f]{{12}}:32-bicubic-shortest-[0-9a-f]{{8}}", plain)
    assert model_id(config(random_clip())) == plain
    assert model_id(config(random_clip(seed=1))).split(":")[1] != plain.split(":")[1]
    assert model_id(config(random_clip(size=40))).split(":")[2].startswith("40-")

    def changed(name: str, part: str, change: dict[str, Any]) -> str:
        folder = tmp_path / name
        shutil.copytree(random_clip(), folder)
        path = folder / "open_clip_config.json"
        document = json.loads(path.read_text())
        document[part] = {**document[part], **change}
        path.write_text(json.dumps(document))
        return model_id(config(folder))

    mean = changed("mean", "preprocess_cfg", {"mean": [0.5, 0.5, 0.5]})
    assert mean.split(":")[:2] == plain.split(":")[:2]
    assert mean != plain
    activation = changed("gelu", "model_cfg", {"quick_gelu": True})
    assert activation.split(":")[1] != plain.split(":")[1]


@pytest.mark.parametrize(
    ("model", "pretrained", "message"),
    [
        ("ViT-B-23", "openai", "no model 'ViT-B-23': nearest are ViT-B-32"),
        ("ViT-B/32", "opnai", "neither a folder .* nearest are openai"),
        ("ViT-B-32", "./nowhere", "neither a folder nor one of open_clip's tags"),
    ],
)
def test_an_unknown_name_tells_the_nearest(model: str, pretrained: str, message: str) -> None:
    with pytest.raises(CaptionlakeError, match=message):
        load_model(EmbedConfig(model=model, pretrained=pretrained))


def _broken(folder: Path, how: str) -> None:
    path = folder / "open_clip_config.json"
    document = json.loads(path.read_text())
    if how == "no config":
        path.unlink()
    elif how == "no json":
        path.write_text("{")
    elif how == "no model_cfg":
        path.write_text("{}")
    elif how == "no weights":
        (folder / "open_clip_model.safetensors").unlink()
    elif how == "truncated weights":
        (folder / "open_clip_model.safetensors").write_bytes(b"\0" * 20)
    else:
        document["model_cfg"]["vision_cfg"]["width"] = 48
        path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    "how", ["no config", "no json", "no model_cfg", "no weights", "truncated weights", "another architecture"]
)
def test_a_broken_folder_is_one_line_that_names_it(random_clip: RandomClip, tmp_path: Path, how: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(random_clip(), folder)
    _broken(folder, how)
    with pytest.raises(CaptionlakeError) as caught:
        load_model(config(folder))
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pickle_beside_the_configuration_is_not_read(random_clip: RandomClip, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(random_clip(), folder)
    (folder / "open_clip_model.safetensors").unlink()
    (folder / "open_clip_pytorch_model.bin").write_bytes(
        b"cos\nsystem\n(S'touch " + str(tmp_path).encode() + b"/ran'\ntR."
    )
    with pytest.raises(CaptionlakeError, match="safetensors"):
        load_model(config(folder))
    assert not (tmp_path / "ran").exists()


def test_a_folder_may_not_take_the_name_of_another_architecture(random_clip: RandomClip) -> None:
    with pytest.raises(CaptionlakeError, match="a name of its own"):
        load_model(EmbedConfig(model="ViT-B-32", pretrained=str(random_clip())))


def test_a_vector_that_is_not_finite_stops_with_the_pictures_named(
    lake: Lake, add_pictures: AddPictures, photographs: dict[str, bytes], random_clip: RandomClip
) -> None:
    import torch

    ids = add_pictures(lake, dict(list(photographs.items())[:1]))
    model: Any = load_model(config(random_clip()))
    with torch.no_grad():
        model.network.visual.proj.fill_(float("nan"))
    with pytest.raises(CaptionlakeError, match=ids[0]):
        embed(lake, config(random_clip()), model=model)
    assert lake.value("SELECT count(*) FROM embeddings") == 0


def test_a_picture_that_does_not_decode_is_named(
    lake: Lake, add_pictures: AddPictures, photographs: dict[str, bytes], random_clip: RandomClip
) -> None:
    data = photographs["coffee-full"]
    ids = add_pictures(lake, {"cut-off": data[: len(data) // 2]})  # no ingest takes such a picture in
    with pytest.raises(CaptionlakeError, match=f"{ids[0]} cannot be decoded"):
        embed(lake, config(random_clip()))


def test_a_picture_taken_down_meanwhile_gets_no_vector(
    lake: Lake, add_pictures: AddPictures, photographs: dict[str, bytes], random_clip: RandomClip
) -> None:
    ids = add_pictures(lake, photographs)
    model = load_model(config(random_clip()))

    class TakesDown(Stops):
        def vectors(self, pictures: Any) -> Any:
            lake.commit(lambda c: c.execute("DELETE FROM images WHERE image_id = ?", [ids[3]]).fetchone())
            return self._model.vectors(pictures)

    taking: Any = TakesDown(model, 0)
    counts = embed(lake, config(random_clip()), model=taking)
    assert counts.embedded == len(ids) - 1
    assert ids[3] not in vectors(lake)


def test_without_open_clip_the_pip_command_is_named() -> None:
    code = (
        "import sys; sys.modules['open_clip'] = None\n"
        "from captionlake.curation.model import *\n"
        "load_model(EmbedConfig(model='ViT-B-32', pretrained='openai'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'captionlake[embed]'" in done.stderr


@pytest.mark.parametrize(
    "wrong", [{"batch_size": 0}, {"threads": 0}, {"pretrained": ""}, {"model": "a b"}, {"precision": "fp8"}]
)
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    from pydantic import ValidationError

    with pytest.raises(ValidationError):
        EmbedConfig(**{"model": "ViT-B-32", "pretrained": "openai", **wrong})


def test_a_run_is_noted_with_its_rate(
    lake: Lake, add_pictures: AddPictures, photographs: dict[str, bytes], random_clip: RandomClip
) -> None:
    add_pictures(lake, photographs)
    counts = embed(lake, config(random_clip(), batch_size=4, threads=1))
    embed(lake, config(random_clip()))  # nothing is pending: nothing is noted
    ((target, detail, told, seconds),) = lake.rows(
        "SELECT target, detail, counts, seconds FROM runs WHERE step = 'embed'"
    )
    assert target == counts.model_id
    assert json.loads(detail) == {
        "library": "open_clip",
        "model": NAME,
        "precision": "fp32",
        "device": "cpu",
        "batch_size": 4,
        "threads": 1,
        "dimensions": 24,
    }
    noted = json.loads(told)
    assert noted["pictures"] == 10
    assert noted["rate"] == pytest.approx(10 / seconds)


def test_a_plan_measures_and_writes_nothing(
    lake: Lake, add_pictures: AddPictures, photographs: dict[str, bytes], random_clip: RandomClip
) -> None:
    names = list(photographs)
    add_pictures(lake, {name: photographs[name] for name in names[:3]})
    settings = config(random_clip())
    first = plan_embedding(lake, settings)
    assert (first.images, first.present, first.pending, first.rate_from) == (3, 0, 3, "measured")
    assert first.rate is not None and first.rate > 0
    assert first.hours == pytest.approx(3 / first.rate / 3600)
    assert first.vector_bytes == 3 * 24 * 4
    assert lake.value("SELECT count(*) FROM embeddings") == 0
    assert lake.value("SELECT count(*) FROM runs WHERE step = 'embed'") == 0
    embed(lake, settings)
    add_pictures(lake, {name: photographs[name] for name in names[3:]}, source="later")
    second = plan_embedding(lake, settings)
    assert (second.present, second.pending, second.rate_from) == (3, 7, "last run")
    told = json.loads(lake.value("SELECT counts FROM runs WHERE step = 'embed'"))
    assert second.rate == pytest.approx(told["rate"])
    assert second.vector_bytes == 7 * 24 * 4
    other_batches = plan_embedding(lake, config(random_clip(), batch_size=2))
    assert other_batches.rate_from == "measured"
    embed(lake, settings)
    assert plan_embedding(lake, settings).pending == 0


def test_a_plan_of_a_lake_without_pictures(lake: Lake, random_clip: RandomClip) -> None:
    found = plan_embedding(lake, config(random_clip()))
    assert (found.images, found.pending, found.rate, found.hours) == (0, 0, None, 0.0)
