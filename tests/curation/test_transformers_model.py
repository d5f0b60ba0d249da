"""CLIP, SigLIP and DINOv2 of transformers as encoders: tiny models of RANDOM weights, saved as folders."""

import io
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captionlake.curation.embedding import embed
from captionlake.curation.encoding import Encoding
from captionlake.curation.model import EmbedConfig, load_model
from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake

VISION = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
TEXT = {**VISION, "vocab_size": 8, "max_position_embeddings": 6}
PIXELS = {"image_size": 32, "patch_size": 8}
WORDS = ("[UNK]", "[PAD]", "[END]", "a", "cat", "dog", "on", "mat")


def save_tokenizer(folder: Path) -> None:
    import tokenizers
    import transformers

    words = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    words.post_processor = tokenizers.processors.TemplateProcessing(single="$A [END]", special_tokens=[("[END]", 2)])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="[UNK]", pad_token="[PAD]", eos_token="[END]"
    ).save_pretrained(folder)


def save(kind: str, folder: Path, seed: int = 0) -> Path:
    """A folder as save_pretrained writes it, its weights RANDOM."""
    import torch
    import transformers as t

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if kind == "clip":
            text = {**TEXT, "eos_token_id": 2, "pad_token_id": 1, "bos_token_id": 0}
            config = t.CLIPConfig(text_config=text, vision_config={**VISION, **PIXELS}, projection_dim=24)
            model, processor = (
                t.CLIPModel(config),
                t.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
            )
        elif kind == "siglip":
            config = t.SiglipConfig(text_config=TEXT, vision_config={**VISION, **PIXELS})
            model, processor = t.SiglipModel(config), t.SiglipImageProcessor(size={"height": 32, "width": 32})
        else:
            model = t.Dinov2Model(t.Dinov2Config(**VISION, **PIXELS))
            processor = t.BitImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    if kind != "dinov2":
        save_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            made[kind] = save(kind, tmp_path_factory.mktemp("transformers") / kind)
        return made[kind]

    return folder


def config(folder: Path, **options: Any) -> EmbedConfig:
    settings = {"device": "cpu", "precision": "fp32", "library": "transformers", **options}
    return EmbedConfig(model=f"random-{folder.name}", pretrained=str(folder), **settings)


def expected(kind: str, folder: Path, data: list[bytes]) -> Any:
    """By transformers' own classes, called as its documentation shows."""
    import torch
    import transformers as t
    from PIL import Image

    classes = {"clip": t.CLIPModel, "siglip": t.SiglipModel, "dinov2": t.Dinov2Model}
    model: Any = classes[kind].from_pretrained(folder)
    processor = t.AutoImageProcessor.from_pretrained(folder)
    inputs = processor(images=[Image.open(io.BytesIO(one)).convert("RGB") for one in data], return_tensors="pt")
    with torch.inference_mode():
        if kind == "clip":
            raw = model.visual_projection(model.vision_model(**inputs).pooler_output)
        elif kind == "siglip":
            raw = model.vision_model(**inputs).pooler_output
        else:
            raw = model(**inputs).last_hidden_state[:, 0]
    return torch.nn.functional.normalize(raw, dim=-1).numpy()


@pytest.mark.parametrize("kind", ["clip", "siglip", "dinov2"])
def test_vectors_are_those_of_transformers(
    saved: Callable[[str], Path], photographs: dict[str, bytes], kind: str
) -> None:
    encoder = load_model(config(saved(kind)))
    with closing(Encoding(encoder, batch_size=3)) as encoding:
        found = np.concatenate([made for _, made in encoding.run(photographs.items())])
    assert np.abs(found - expected(kind, saved(kind), list(photographs.values()))).max() < 1e-5
    assert encoder.model_id.startswith(f"random-{kind}:")
    half = load_model(config(saved(kind), precision="bf16"))
    assert half.model_id == f"{encoder.model_id}:bf16"
    data = list(photographs.values())[:2]
    assert (half.vectors([half.prepare(one) for one in data]) * found[:2]).sum(axis=1).min() > 0.99


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_texts_are_encoded(saved: Callable[[str], Path], kind: str) -> None:
    encoder = load_model(config(saved(kind)))
    found = encoder.text_vectors(["a cat", "a dog on a mat", "a cat on a dog on a cat on a mat"])
    image = encoder.vectors([encoder.prepare(_red())])
    assert found.shape == (3, image.shape[1])
    assert np.abs(np.linalg.norm(found, axis=1) - 1).max() < 1e-6
    assert np.abs(encoder.text_vectors(["a dog on a mat"]) - found[1:2]).max() < 1e-5
    assert np.abs(found[0] - found[1]).max() > 1e-3


def _red() -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (40, 40), "red").save(buffer, "PNG")
    return buffer.getvalue()


def test_dinov2_has_no_text_side(saved: Callable[[str], Path]) -> None:
    with pytest.raises(CaptionlakeError, match=r"random-dinov2.*no vectors of texts"):
        load_model(config(saved("dinov2"))).text_vectors(["a cat"])


def test_other_weights_have_another_id(saved: Callable[[str], Path], tmp_path: Path) -> None:
    one = load_model(config(saved("siglip"))).model_id
    assert load_model(config(saved("siglip"))).model_id == one
    other = load_model(config(save("siglip", tmp_path / "siglip", seed=1))).model_id
    assert other.split(":")[1] != one.split(":")[1]
    assert other.split(":")[2] == one.split(":")[2]


def test_a_lake_is_embedded(
    lake: Lake,
    add_pictures: Callable[..., list[str]],
    photographs: dict[str, bytes],
    saved: Callable[[str], Path],
) -> None:
    add_pictures(lake, photographs)
    counts = embed(lake, config(saved("dinov2")))
    assert counts.embedded == len(photographs)
    assert lake.value("SELECT DISTINCT len(vector) FROM embeddings") == VISION["hidden_size"]


@pytest.mark.parametrize("how", ["pickle", "no processor", "remote code", "truncated", "a text model", "nothing"])
def test_a_folder_that_is_not_taken_is_named(tmp_path: Path, how: str) -> None:
    import json

    import torch
    import transformers as t

    folder = save("dinov2", tmp_path / "dinov2")
    if how == "pickle":
        (folder / "model.safetensors").unlink()
        torch.save({}, folder / "pytorch_model.bin")
    elif how == "no processor":
        (folder / "preprocessor_config.json").unlink()
    elif how == "remote code":
        path = folder / "config.json"
        told = json.loads(path.read_text()) | {
            "model_type": "mine",
            "auto_map": {"AutoConfig": "ran.C", "AutoModel": "ran.M"},
        }
        path.write_text(json.dumps(told))
        (folder / "ran.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    elif how == "truncated":
        (folder / "model.safetensors").write_bytes(b"\0" * 20)
    elif how == "a text model":
        t.BertModel(t.BertConfig(**{**TEXT, "vocab_size": 8})).save_pretrained(folder)
    else:
        (folder / "config.json").unlink()
    with pytest.raises(CaptionlakeError) as caught:
        load_model(config(folder))
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()
