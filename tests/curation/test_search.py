"""Search over lakes of real photographs, with a tiny CLIP of RANDOM weights: what must hold whatever they are."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from captionlake.cli import captionlake
from captionlake.curation import caption_index as index_module
from captionlake.curation.caption_index import CaptionIndex, caption_index, index_path
from captionlake.curation.cosine import exact_cosine
from captionlake.curation.embedding import EmbedConfig, embed
from captionlake.curation.search import Scope, search_clip, search_like, search_text
from captionlake.curation.text_model import TextModel, load_text_model
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.lake.cache import drop_cache
from captionlake.lake.ingest import ingest
from captionlake.lake.ingest_config import IngestConfig

NAME = "random-weights-vit"
CAPTIONS = {
    "astronaut": "A woman in an orange suit smiles before a flag.",
    "camera": "A man with a camera on a tripod, black and white.",
    "chelsea": "A tabby cat looks to the right. The cat's eyes are green.",
    "coffee": "A cup of coffee, a spoon, and <b>two cats</b> on the saucer.",
    "rocket": "A rocket rises from its pad in clouds of smoke; café été.",
}


@pytest.fixture
def filled(lake: Lake, tmp_path: Path, photographs: dict[str, bytes]) -> Lake:
    add(lake, tmp_path / "web", {name: photographs[f"{name}-full"] for name in CAPTIONS}, CAPTIONS)
    return lake


def add(lake: Lake, folder: Path, pictures: dict[str, bytes], captions: dict[str, str]) -> None:
    folder.mkdir(parents=True)
    rows = []
    for name, data in pictures.items():
        (folder / f"{name}.jpg").write_bytes(data)
        rows.append(json.dumps({"file_name": f"{name}.jpg", "caption": captions[name]}))
    (folder / "metadata.jsonl").write_text("\n".join(rows))
    ingest(lake, IngestConfig(source="folder", inputs=[str(folder)], collection=folder.name))


@pytest.fixture
def settings(random_clip: Callable[..., Path]) -> EmbedConfig:
    return EmbedConfig(model=NAME, pretrained=str(random_clip()), device="cpu")


@pytest.fixture
def model(settings: EmbedConfig) -> TextModel:
    return load_text_model(settings)


def keys(hits: list[Any]) -> list[str]:
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    return [hit.source_key.removesuffix(".jpg") for hit in hits]


def indexed(lake: Lake) -> int:
    with caption_index(lake) as index:
        return index.count("a")


# Captions by their words


def test_all_words_are_wanted_and_the_best_comes_first(filled: Lake) -> None:
    assert keys(search_text(filled, "cat")) == ["chelsea", "coffee"]  # stemmed: cats; twice in the first
    assert keys(search_text(filled, "cats coffee")) == ["coffee"]
    assert keys(search_text(filled, '"black and white"')) == ["camera"]
    assert keys(search_text(filled, '"white and black"')) == []
    assert keys(search_text(filled, "astro*")) == []
    assert keys(search_text(filled, "smok*")) == ["rocket"]
    assert keys(search_text(filled, "cafe ETE")) == ["rocket"]
    assert len(search_text(filled, "a", limit=3)) == 3
    (hit,) = search_text(filled, "tabby")
    assert hit.text == CAPTIONS["chelsea"]
    assert filled.value("SELECT text FROM captions WHERE caption_id = ?", [hit.caption_id]) == hit.text
    assert (hit.source, hit.collection) == ("folder-web", "web")


@pytest.mark.parametrize("text", ["", "  ", '"', '""', "*", "-- ;", '" * "', "\0"])
def test_a_search_without_a_word_is_one_line(filled: Lake, text: str) -> None:
    with pytest.raises(CaptionlakeError, match="no word"):
        search_text(filled, text)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> CaptionIndex:
    """An index without captions."""
    with Lake.init(tmp_path_factory.mktemp("empty") / "lake") as lake, caption_index(lake) as found:
        return found


@given(text=st.text(max_size=40))
def test_no_text_is_a_syntax_error_of_the_index(index: CaptionIndex, text: str) -> None:
    try:
        assert index.best(text.encode("utf-8", "replace").decode(), 3) == []
    except CaptionlakeError as error:
        assert "no word" in str(error)


@pytest.mark.parametrize(
    "text", ["cat OR camera", "NEAR(cat dog)", "text:cat", "cat AND NOT x", "(cat", "^cat", "c+at", "'; DROP"]
)
def test_the_indexs_own_language_has_no_meaning(filled: Lake, text: str) -> None:
    assert keys(search_text(filled, text)) in ([], ["chelsea", "coffee"])


def test_new_captions_are_added_and_others_that_are_gone_leave(
    filled: Lake, tmp_path: Path, photographs: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    search_text(filled, "cat")
    place = index_path(filled.path).stat().st_ino
    add(filled, tmp_path / "late", {"late": photographs["coffee-small"]}, {"late": "Another cat beside the coffee."})
    assert set(keys(search_text(filled, "cat coffee"))) == {"coffee", "late"}
    assert index_path(filled.path).stat().st_ino == place
    filled.commit(lambda c: c.execute("DELETE FROM lake.captions WHERE contains(text, 'tabby')").fetchall())
    assert keys(search_text(filled, "tabby")) == []
    assert index_path(filled.path).stat().st_ino == place
    assert indexed(filled) == 4
    monkeypatch.setattr(index_module, "_bring_up", None)
    assert len(search_text(filled, "cat")) == 2  # nothing was written since: the index is used as it is


@pytest.mark.parametrize("name", ["state.json", "meta.json", "segment"])
@pytest.mark.parametrize("content", [b"", b"no index", b"\xff" * 5000])
def test_an_index_that_is_broken_is_made_anew(filled: Lake, name: str, content: bytes) -> None:
    search_text(filled, "cat")
    folder = index_path(filled.path)
    broken = next(folder.glob("*.store")) if name == "segment" else folder / name
    broken.write_bytes(content)
    assert keys(search_text(filled, "cat")) == ["chelsea", "coffee"]
    drop_cache(filled.path)
    assert keys(search_text(filled, "cat")) == ["chelsea", "coffee"]


def test_where_the_snapshot_of_an_index_is_gone_it_is_made_anew(
    filled: Lake, tmp_path: Path, photographs: dict[str, bytes]
) -> None:
    search_text(filled, "cat")
    state = index_path(filled.path) / "state.json"
    told = json.loads(state.read_text())
    state.write_text(json.dumps(told | {"snapshot": 999_999}))
    assert keys(search_text(filled, "cat")) == ["chelsea", "coffee"]
    assert json.loads(state.read_text())["snapshot"] == filled.snapshot()


def test_an_index_whose_state_was_not_noted_has_no_caption_twice(
    filled: Lake, tmp_path: Path, photographs: dict[str, bytes]
) -> None:
    """As a kill between the index's commit and its state leaves it."""
    search_text(filled, "cat")
    state = index_path(filled.path) / "state.json"
    before = json.loads(state.read_text())
    add(filled, tmp_path / "late", {"late": photographs["coffee-small"]}, {"late": "Another cat beside the coffee."})
    assert len(search_text(filled, "cat")) == 3
    after = json.loads(state.read_text())
    state.write_text(json.dumps(after | {"snapshot": before["snapshot"]}))
    assert len(search_text(filled, "cat")) == 3


def test_a_picture_that_was_renamed_is_shown_by_its_new_name(filled: Lake) -> None:
    search_text(filled, "tabby")
    filled.commit(
        lambda c: c.execute("UPDATE lake.images SET collection = 'other' WHERE source_key = 'chelsea.jpg'").fetchall()
    )
    (hit,) = search_text(filled, "tabby")
    assert hit.collection == "other"


# Scope


def release(lake: Lake, names: list[str]) -> None:
    """Rows of a release as create_release writes them, as far as a search reads them."""
    rows = lake.rows("SELECT source, source_key, image_id FROM images ORDER BY source_key")
    taken = [row for row in rows if row[1].removesuffix(".jpg") in names]

    def change(connection: Any) -> None:
        connection.execute(
            "INSERT INTO lake.releases VALUES ('r', '1.0.0', 'images', 1, '', '', '', 1, NULL, 'valid', now())"
        )
        for place, row in enumerate(taken):
            connection.execute(
                "INSERT INTO lake.release_items VALUES ('r', '1.0.0', ?, ?, ?, ?, NULL, 'train', '')", [place, *row]
            )
            connection.execute(
                "INSERT INTO lake.release_captions SELECT 'r', '1.0.0', ?, 0, caption_id, 'x' FROM lake.captions "
                "WHERE source_key = ?",
                [place, row[1]],
            )

    lake.commit(change)


def test_in_a_release_or_where_a_condition_holds(filled: Lake, settings: EmbedConfig) -> None:
    embed(filled, settings)
    release(filled, ["chelsea", "rocket"])
    assert keys(search_text(filled, "cat", scope=Scope(release="r@1.0.0"))) == ["chelsea"]
    where = Scope(where="source_key LIKE 'c%' AND width >= 64")
    assert set(keys(search_text(filled, "a", scope=where))) == {"camera", "chelsea", "coffee"}
    assert keys(search_text(filled, "a", limit=1, scope=Scope(where="source_key = 'rocket.jpg'"))) == ["rocket"]
    assert set(keys(search_like(filled, "folder-web:coffee.jpg", scope=where))) == {"camera", "chelsea", "coffee"}
    both = Scope(release="r@1.0.0", where="source_key LIKE 'c%'")
    assert keys(search_like(filled, "folder-web:coffee.jpg", scope=both)) == ["chelsea"]
    assert search_like(filled, "folder-web:coffee.jpg", scope=Scope(where="width < 0")) == []
    for scope in (
        Scope(release="r@2"),
        Scope(release="r"),
        Scope(where="1; DROP TABLE images"),
        Scope(where="read_text('x') = ''"),
    ):
        with pytest.raises(CaptionlakeError):
            search_text(filled, "cat", scope=scope)


# Pictures by CLIP


def test_like_a_picture_is_brute_force_over_the_lake(
    filled: Lake, tmp_path: Path, settings: EmbedConfig, model: TextModel, photographs: dict[str, bytes]
) -> None:
    embed(filled, settings)
    stored = {row[0]: np.array(row[1], np.float32) for row in filled.rows("SELECT image_id, vector FROM embeddings")}
    chelsea = hashlib.sha256(photographs["chelsea-full"]).hexdigest()
    expected = sorted(((-exact_cosine(stored[chelsea], vector), key) for key, vector in stored.items()))
    (tmp_path / "copy.jpg").write_bytes(photographs["chelsea-full"])
    for like in (chelsea, "folder-web:chelsea.jpg", tmp_path / "copy.jpg"):
        hits = search_like(filled, like)
        assert [hit.image_id for hit in hits] == [key for _, key in expected]
        assert np.allclose([hit.score for hit in hits], [-cosine for cosine, _ in expected], atol=1e-12, rtol=0)
        assert {hit.text for hit in hits} == {None}
    (tmp_path / "new.jpg").write_bytes(photographs["chelsea-small"])
    with pytest.raises(CaptionlakeError, match="--model and --pretrained"):
        search_like(filled, tmp_path / "new.jpg")
    hits = search_like(filled, tmp_path / "new.jpg", model=model.image, limit=2)
    made = model.image.vectors([model.image.prepare(photographs["chelsea-small"])])[0]
    assert [hit.image_id for hit in hits] == sorted(stored, key=lambda key: (-exact_cosine(made, stored[key]), key))[:2]


def test_a_text_by_clip_is_brute_force_over_the_lake(filled: Lake, settings: EmbedConfig, model: TextModel) -> None:
    embed(filled, settings)
    stored = {row[0]: np.array(row[1], np.float32) for row in filled.rows("SELECT image_id, vector FROM embeddings")}
    query = model.text_vectors(["a cat"])[0]
    expected = sorted(stored, key=lambda key: (-exact_cosine(query, stored[key]), key))
    assert [hit.image_id for hit in search_clip(filled, "a cat", model)] == expected
    assert [hit.image_id for hit in search_clip(filled, "a cat", model, limit=2)] == expected[:2]


def test_text_vectors_are_those_of_open_clip_itself(settings: EmbedConfig) -> None:
    import open_clip
    import torch

    model = load_text_model(replace(settings, precision="fp32"))
    source = f"local-dir:{settings.pretrained}"
    network, _ = open_clip.create_model_from_pretrained(source)
    network.eval()
    texts = ["a cat", "a very long text " * 30, ""]
    with torch.inference_mode():
        expected = network.encode_text(open_clip.get_tokenizer(source)(texts), normalize=True).numpy()
    assert np.abs(model.text_vectors(texts) - expected).max() < 1e-5
    assert model.truncated(texts) == [False, True, False]
    assert model.truncated([" ".join(["cat"] * 6), " ".join(["cat"] * 7)]) == [
        False,
        True,
    ]  # 8 tokens, two of them marks


def test_new_pictures_are_found(
    filled: Lake, tmp_path: Path, settings: EmbedConfig, photographs: dict[str, bytes]
) -> None:
    embed(filled, settings)
    assert len(search_like(filled, "folder-web:coffee.jpg")) == 5
    add(filled, tmp_path / "late", {"late": photographs["coffee-small"]}, {"late": "late"})
    embed(filled, settings)
    assert "late" in keys(search_like(filled, "folder-web:coffee.jpg"))


@pytest.mark.parametrize("like", ["nowhere.jpg", "folder-web:none.jpg", "0" * 64, "", "a\0b", "x" * 5000, ":"])
def test_a_picture_that_is_not_there_is_one_line(filled: Lake, settings: EmbedConfig, like: str) -> None:
    embed(filled, settings)
    with pytest.raises(CaptionlakeError, match="no file, and no picture of the lake") as caught:
        search_like(filled, like)
    assert "\0" not in str(caught.value)


def test_files_and_models_that_do_not_fit_are_one_line(
    filled: Lake, tmp_path: Path, settings: EmbedConfig, model: TextModel, random_clip: Callable[..., Path]
) -> None:
    with pytest.raises(CaptionlakeError, match="captionlake embed"):
        search_clip(filled, "x", model)
    embed(filled, settings)
    other = load_text_model(EmbedConfig(model=NAME, pretrained=str(random_clip(5)), device="cpu"))
    with pytest.raises(CaptionlakeError, match="no picture is embedded by"):
        search_clip(filled, "x", other)
    (tmp_path / "page.jpg").write_text("<!doctype html>")
    with pytest.raises(CaptionlakeError, match="no picture that can be read"):
        search_like(filled, tmp_path / "page.jpg", model=model.image)
    assert model.pair_id != other.pair_id
    assert model.pair_id.startswith(model.model_id)


# The command


def call(*arguments: str) -> Result:
    return CliRunner().invoke(captionlake, ["search", *arguments])


def test_the_command(filled: Lake, tmp_path: Path, settings: EmbedConfig) -> None:
    embed(filled, settings)
    filled.close()
    lake = ["--lake", str(filled.path)]
    clip = ["--model", NAME, "--pretrained", settings.pretrained]
    found = json.loads(call("cat", *lake, "--json").stdout)
    assert [hit["source_key"] for hit in found["hits"]] == ["chelsea.jpg", "coffee.jpg"]
    assert "folder-web:chelsea.jpg" in call("cat", *lake).stdout
    assert call("unicorn", *lake).stdout == "0 captions by BM25\n"
    page = tmp_path / "page.html"
    assert f"open {page}" in call("saucer", "-o", str(page), *lake).stdout
    html = page.read_text()
    assert "&lt;b&gt;two cats&lt;/b&gt;" in html
    assert "<b>two" not in html
    assert html.count("data:image/jpeg;base64,") == 1
    found = json.loads(call("<script>", "--clip", *clip, "--limit", "2", "-o", str(page), *lake, "--json").stdout)
    assert len(found["hits"]) == 2
    assert "&lt;script&gt;" in page.read_text()
    assert "<script" not in page.read_text()
    assert len(json.loads(call("--like", "folder-web:chelsea.jpg", *lake, "--json").stdout)["hits"]) == 5
    result = call("x", "--clip", *lake)
    assert isinstance(result.exception, CaptionlakeError)
    assert "--model and --pretrained" in str(result.exception)
    for wrong in ([], ["cat", "--like", "x"], ["cat", "--model", "x"], ["cat", "--limit", "0"]):
        assert call(*wrong, *lake).exit_code == 2
    assert isinstance(call("cat", "--clip", "--model", NAME, *lake).exception, CaptionlakeError)
    (tmp_path / "folder").mkdir()
    assert "\x1b" not in call("\x1b[2Jcat", *lake).stdout
