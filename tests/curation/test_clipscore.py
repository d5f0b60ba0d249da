"""CLIPScores of captions of real photographs, by a tiny CLIP of RANDOM weights: what must hold whatever they are."""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from captionlake.cli import captionlake
from captionlake.curation import clipscore
from captionlake.curation.clipscore import score
from captionlake.curation.embedding import EmbedConfig, embed
from captionlake.curation.text_model import TextModel, load_text_model
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.ingest import ingest
from captionlake.lake.ingest_config import IngestConfig

from ..killed import Commands, nothing_staged

NAME = "random-weights-vit"
SCORES = "SELECT * FROM caption_scores ORDER BY ALL"
TEXTS = ["A cat.", "Something much longer than the eight tokens that this model reads at once.", "ein Hund", "猫", "…"]


@pytest.fixture
def filled(lake: Lake, tmp_path: Path, photographs: dict[str, bytes]) -> Lake:
    """Ten photographs with two captions each; eight of them are to be embedded."""
    for part, names in (("seen", sorted(photographs)[:8]), ("unseen", sorted(photographs)[8:])):
        folder = tmp_path / part
        folder.mkdir()
        rows = []
        for number, name in enumerate(names):
            (folder / f"{name}.jpg").write_bytes(photographs[name])
            texts = {"caption": f"{TEXTS[number % 5]} {number}", "alt": TEXTS[(number + 1) % 5]}
            rows.append(json.dumps({"file_name": f"{name}.jpg", **texts}))
        (folder / "metadata.jsonl").write_text("\n".join(rows))
    ingest(lake, IngestConfig(source="folder", inputs=[str(tmp_path / "seen")]))
    return lake


@pytest.fixture
def settings(random_clip: Callable[..., Path]) -> EmbedConfig:
    return EmbedConfig(model=NAME, pretrained=str(random_clip()), device="cpu")


def test_scores_are_those_of_the_formula_by_open_clip_itself(filled: Lake, settings: EmbedConfig) -> None:
    import io

    import open_clip
    import torch
    from PIL import Image

    settings = replace(settings, precision="fp32")
    embed(filled, settings)
    model = load_text_model(settings)
    counts = score(filled, model)
    source = f"local-dir:{settings.pretrained}"
    network, transform = open_clip.create_model_from_pretrained(source)
    network.eval()
    tokenizer = open_clip.get_tokenizer(source)
    rows = filled.rows("SELECT caption_id, image_id, text FROM captions ORDER BY caption_id")
    expected, cut = {}, {}
    with torch.inference_mode():
        for caption_id, image_id, text in rows:
            picture = transform(Image.open(io.BytesIO(filled.picture(image_id))).convert("RGB")).unsqueeze(0)
            tokens = tokenizer([f"A photo depicts {text}"])
            cosine = torch.nn.functional.cosine_similarity(network.encode_image(picture), network.encode_text(tokens))
            expected[caption_id] = 2.5 * max(float(cosine[0]), 0.0)
            cut[caption_id] = len(tokenizer.encode(f"A photo depicts {text}")) + 2 > 8
    found = {
        row[0]: row[1:] for row in filled.rows("SELECT caption_id, score, truncated, model_id FROM caption_scores")
    }
    assert found.keys() == expected.keys()
    # Pictures are resampled as bytes, open_clip's own way differs in rounding.
    assert max(abs(found[key][0] - expected[key]) for key in expected) < 5e-3
    assert {key: row[1] for key, row in found.items()} == cut
    assert {row[2] for row in found.values()} == {model.pair_id}
    assert 0 < counts.truncated == sum(cut.values()) < len(cut)
    assert min(expected.values()) == 0.0 < max(expected.values())
    assert (counts.captions, counts.present, counts.scored, counts.without_vector) == (len(rows), 0, len(rows), 0)


def test_only_what_is_missing_is_scored(filled: Lake, tmp_path: Path, settings: EmbedConfig) -> None:
    embed(filled, settings)
    model = load_text_model(settings)
    first = score(filled, model)
    rows = filled.rows(SCORES)
    ingest(filled, IngestConfig(source="folder", inputs=[str(tmp_path / "unseen")]))
    again = score(filled, model)
    assert (again.present, again.scored, again.without_vector) == (first.scored, 0, 4)
    assert filled.rows(SCORES) == rows
    embed(filled, settings)
    last = score(filled, model)
    assert (last.present, last.scored, last.without_vector) == (first.scored, 4, 0)
    assert len(filled.rows(SCORES)) == last.captions
    notes = filled.rows("SELECT target, counts->>'scored' FROM runs WHERE step = 'score' ORDER BY created_at")
    assert notes == [(model.pair_id, str(first.scored)), (model.pair_id, "0"), (model.pair_id, "4")]


def test_two_models_score_side_by_side(filled: Lake, random_clip: Callable[..., Path], settings: EmbedConfig) -> None:
    other = EmbedConfig(model=NAME, pretrained=str(random_clip(5)), device="cpu")
    ids = set()
    for config in (settings, other):
        embed(filled, config)
        ids.add(score(filled, load_text_model(config)).model_id)
    counts = filled.rows("SELECT model_id, count(*) FROM caption_scores GROUP BY 1")
    assert {row[0] for row in counts} == ids
    assert len({row[1] for row in counts}) == 1


def test_a_stopped_run_goes_on_where_it_stopped(
    filled: Lake, settings: EmbedConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clipscore, "COMMIT_EVERY", 4)
    embed(filled, settings)
    model = load_text_model(settings)
    real, calls = TextModel.text_vectors, list[int]()

    def stops(self: TextModel, texts: list[str]) -> Any:
        calls.append(len(texts))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, texts)

    monkeypatch.setattr(TextModel, "text_vectors", stops)
    with pytest.raises(KeyboardInterrupt):
        score(filled, model)
    half = filled.rows(SCORES)
    assert len(half) == 8
    counts = score(filled, model)
    assert (counts.present, counts.scored) == (8, counts.captions - 8)
    assert set(half) < set(filled.rows(SCORES))
    assert nothing_staged(filled.path)


def test_killed_at_any_moment_and_run_again(filled: Lake, tmp_path: Path, settings: EmbedConfig) -> None:
    import shutil

    embed(filled, settings)
    filled.close()
    whole, killed = filled.path, tmp_path / "killed"
    shutil.copytree(whole, killed)
    model = ["--model", NAME, "--pretrained", settings.pretrained, "--device", "cpu"]
    modules = ["captionlake.curation.clipscore", "open_clip"]
    chance = random.Random(0)
    with Commands(tmp_path, modules, {"captionlake.curation.clipscore.COMMIT_EVERY": 3}) as commands:
        commands.learn("score", *model, "--lake", whole)
        ended = sum(commands.run("score", *model, "--lake", killed, at=commands.moment(chance)) for _ in range(8))
        assert ended < 8
        assert commands.run("score", *model, "--lake", killed)
    with Lake.open(whole) as one, Lake.open(killed) as two:
        expected, found = one.rows(SCORES), two.rows(SCORES)
    assert [(row[0], row[1], row[3]) for row in found] == [(row[0], row[1], row[3]) for row in expected]
    assert np.allclose([row[2] for row in found], [row[2] for row in expected], atol=1e-5)


def test_the_command(filled: Lake, settings: EmbedConfig, random_clip: Callable[..., Path]) -> None:
    embed(filled, settings)
    captions = filled.value("SELECT count(*) FROM captions")
    filled.close()
    model = ["--model", NAME, "--pretrained", settings.pretrained, "--lake", str(filled.path)]
    result = CliRunner().invoke(captionlake, ["score", *model, "--json"])
    assert json.loads(result.stdout)["scored"] == captions
    text = CliRunner().invoke(captionlake, ["score", *model]).stdout
    assert text.startswith("0 captions scored by random-weights-vit:")
    assert f"{captions} of {captions} had a score before" in text
    other = ["--model", NAME, "--pretrained", str(random_clip(9)), "--lake", str(filled.path)]
    error = CliRunner().invoke(captionlake, ["score", *other]).exception
    assert isinstance(error, CaptionlakeError)
    assert "captionlake embed" in str(error)
