"""The paper's chain by its commands alone, at tiny size: every release and every checkpoint is made from the one before.

The photographs and what is said of them are real; the texts that came with them stand in for a teacher's. Models have random weights and
see six steps: what they write means nothing.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from captionlake.cli import captionlake
from captionlake.lake import Lake
from captionlake.models.checkpoint import read_record, weights_sha256

from .conftest import jpeg
from .official import benchmarks as official

SAID = {
    "astronaut": "A smiling astronaut in an orange suit stands before a flag and a model of a space shuttle.",
    "chelsea": "A tabby cat looks past the camera, its whiskers white against brown and grey fur.",
    "coffee": "A cup of black coffee stands on a saucer beside a silver spoon on a wooden table.",
    "rocket": "A white rocket rises from its launch pad on a column of fire and smoke.",
    "hubble_deep_field": "Thousands of galaxies of many shapes and colours lie scattered over a black sky.",
    "china": "A temple with golden roofs rises over stairs and trees under a pale sky.",
    "flower": "A purple flower opens its petals in front of dark green leaves.",
}
# By the names of files; each table of [train] is the same but for its output.
TRAIN = """
[train]
output = "checkpoints/{output}"
batch_size = 4
per_device = 2
epochs = 2
max_steps = 6
lr = 1e-3
log_every = 1
save_every = 6
workers = 0
"""
IMAGES = """
lake = "lake"
[[ingest]]
source = "folder"
inputs = ["photographs"]
collection = "coco"
[select]
[[select.quota]]
collection = "coco"
count = "all"
"""
RECIPES = {
    "teacher": IMAGES + '[caption]\ncaptioner = "source"\n[release]\nname = "teacher"\nversion = "1.0.0"\n',
    "captioner": 'lake = "lake"\n[data]\nrelease = "teacher@1.0.0"\n[model]\nsize = "tiny"\n' + TRAIN,
    "pt": IMAGES
    + '[caption]\ncaptioner = "checkpoints/captioner"\n[caption.generation]\nmax_tokens = 12\ndevice = "cpu"\nprecision = "fp32"\n'
    + '[release]\nname = "pt"\nversion = "1.0.0"\n',
    "pretrain": 'lake = "lake"\n[data]\nrelease = "pt@1.0.0"\n[model]\nsize = "tiny"\ntrained = ["vision:2-", "projector", "language"]\n'
    + TRAIN,
    "mix": 'lake = "lake"\n[mix]\nbase = "base.json"\nquestions = "questions.txt"\n[mix.replace]\ncaptions = "teacher@1.0.0"\n'
    + 'producer = "source"\ncount = 3\n[release]\nname = "mix"\nversion = "1.0.0"\n',
    "sft": 'lake = "lake"\n[data]\nrelease = "mix@1.0.0"\n[model]\nstart = "checkpoints/pretrain"\n' + TRAIN,
}
DETAIL = "Describe the following image."


def run(*arguments: object) -> Any:
    result = CliRunner().invoke(captionlake, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def lay_out(folder: Path, photographs: dict[str, Image.Image]) -> None:
    """Photographs with their texts, conversations of LLaVA's form, and the recipes."""
    (folder / "photographs").mkdir()
    lines = ["file_name,caption"]
    rows: list[dict[str, Any]] = []
    for name, picture in photographs.items():
        for side, view in (("", picture), ("-mirrored", picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT))):
            (folder / "photographs" / f"{name}{side}.jpg").write_bytes(jpeg(view.resize((160, 120))))
            lines.append(f'{name}{side}.jpg,"{SAID[name]}"')
        question, answer = (DETAIL, "A picture.") if len(rows) < 3 else ("What is it?", name)
        turns = [{"from": "human", "value": f"<image>\n{question}"}, {"from": "gpt", "value": answer}]
        place = (
            "coco/train2017" if question == DETAIL else "coco"
        )  # there LLaVA's detailed captions are, which are taken out
        rows.append({"id": name, "image": f"{place}/{name}.jpg", "conversations": turns})
    for number in range(4):
        turns = [{"from": "human", "value": "Say a number."}, {"from": "gpt", "value": str(number)}]
        rows.append({"id": f"t{number}", "conversations": turns})
    (folder / "photographs" / "metadata.csv").write_text("\n".join(lines) + "\n")
    (folder / "base.json").write_text(json.dumps(rows))
    (folder / "questions.txt").write_text(DETAIL + "\n")
    for name, text in RECIPES.items():
        (folder / f"{name}.toml").write_text(text.format(output=name) if "[train]" in text else text)


def test_teacher_captioner_captions_pretraining_tuning_evaluation(
    tmp_path: Path, photographs: dict[str, Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_out(tmp_path, photographs)
    monkeypatch.chdir(tmp_path)
    run("run", "teacher.toml")
    made = {"captioner": run("train", "captioner", "captioner.toml")}
    run("run", "pt.toml")
    made["pretrain"] = run("train", "pretrain", "pretrain.toml")
    run("mix", "mix.toml")
    made["sft"] = run("train", "sft", "sft.toml")

    with Lake.open(tmp_path / "lake") as lake:
        contents = {
            f"{name}@{version}": content
            for name, version, content in lake.rows("SELECT name, version, content_sha256 FROM releases")
        }
        written = lake.rows(
            "SELECT DISTINCT producer, producer_revision FROM release_captions JOIN captions USING (caption_id) WHERE name = 'pt'"
        )
        told = lake.rows(
            "SELECT count(*) FROM release_captions JOIN captions USING (caption_id) WHERE name = 'teacher' AND producer = 'source'"
        )
        put_in = lake.value(
            "SELECT count(*) FROM release_items JOIN conversations USING (conversation_id) WHERE name = 'mix' AND caption_id IS NOT NULL"
        )
    assert told == [(14,)] and put_in == 3
    assert [producer for producer, _ in written] == ["captioner:captioner"]
    assert weights_sha256(tmp_path / "checkpoints" / "captioner") in written[0][1]

    read = {"captioner": "teacher@1.0.0", "pretrain": "pt@1.0.0", "sft": "mix@1.0.0"}
    for stage, release in read.items():
        record = read_record(tmp_path / "checkpoints" / stage)
        assert record is not None
        assert (record.release, record.content_sha256) == (release, contents[release])
        assert record.start == ("pretrain" if stage == "sft" else None)
        assert made[stage]["steps"] == 6 and made[stage]["loss"][1] < made[stage]["loss"][0]

    pictures = {name: (tmp_path / "photographs" / f"{name}.jpg").read_bytes() for name in photographs}
    official.mme(tmp_path / "MME", pictures)
    results = tmp_path / "results.json"
    run("eval", "checkpoints/sft", "--benchmark", "mme=MME", "--device", "cpu", "--precision", "fp32", "-o", results)
    found = json.loads(results.read_text())
    assert found["weights_sha256"] == weights_sha256(tmp_path / "checkpoints" / "sft")
    assert found["record"]["release"] == "mix@1.0.0" and "mme" in json.dumps(found)

    card = tmp_path / "card"
    said = run("card", "checkpoints/sft", "-o", card, "--lake", "lake", "--results", results)
    text, facts = (card / "README.md").read_text(), json.loads((card / "facts.json").read_text())["facts"]
    assert len(facts) == said["facts"]
    by_name = {fact["name"]: fact for fact in facts}
    # mix <- captions of teacher; pretrain <- pt <- captioner <- teacher
    assert by_name["start:pretrain"]["value"]["release"] == "pt@1.0.0"
    assert {name.partition(":")[2] for name in by_name if name.startswith("release:")} == set(contents)
    assert [run["release"] for run in by_name["trained:captioner"]["value"]] == ["teacher@1.0.0"]
    assert "**Its weights began at random** (size tiny)" in text
    for name in (
        "release:mix@1.0.0",
        "texts:mix@1.0.0",
        "pictures:pt@1.0.0",
        "published:pt@1.0.0",
        "trained:captioner",
    ):
        assert run("sql", by_name[name]["source"]["query"], "--lake", "lake")["rows"] == by_name[name]["value"], name
    checked = run("card", "checkpoints/sft", "-o", card, "--lake", "lake", "--results", results, "--check")
    assert checked["unchecked"] == [] and checked["readme_as_written"]
