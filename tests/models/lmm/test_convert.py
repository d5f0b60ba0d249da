"""Checkpoints in the form of LLaVA's own code, tiny and random: no released one is to be had where these tests run."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, AutoProcessor, AutoTokenizer

from captionlake.convert_command import convert
from captionlake.errors import CaptionlakeError
from captionlake.models.lmm import build_lmm, image_tokens
from captionlake.models.lmm.convert import convert_llava
from captionlake.models.lmm.released import to_released

_TOKENS = 900


@pytest.fixture(scope="module")
def state(towers: Path, words: Path) -> dict[str, torch.Tensor]:
    """A LLaVA's weights by the keys of files."""
    model, _ = build_lmm(vision=str(towers / "clip"), language=str(words), seed=5)
    named = {
        "model.vision_tower.": "vision_tower.vision_model.",
        "model.multi_modal_projector.": "multi_modal_projector.",
        "model.language_model.": "language_model.model.",
        "lm_head.": "language_model.lm_head.",
    }
    return {
        next(new + key.removeprefix(old) for old, new in named.items() if key.startswith(old)): tensor.clone()
        for key, tensor in model.state_dict().items()
    }


@pytest.fixture
def released(state: dict[str, torch.Tensor], towers: Path, words: Path, tmp_path: Path) -> Callable[..., Path]:
    """``released(with_tower=…, form="bin" | "safetensors")``: a folder as the authors publish it, in two shards."""

    def write(*, with_tower: bool = False, form: str = "bin", **changes: Any) -> Path:
        folder = tmp_path / "released"
        folder.mkdir()
        tensors = to_released(state, _TOKENS, with_tower=with_tower)
        tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(8)
        keys = sorted(tensors)
        name = {"bin": "pytorch_model", "safetensors": "model"}[form]
        placed: dict[str, str] = {}
        for number, part in enumerate((keys[::2], keys[1::2]), start=1):
            file = f"{name}-{number:05d}-of-00002.{form}"
            halved = {key: tensors[key].half() for key in part}
            if form == "bin":
                torch.save(halved, folder / file)
            else:
                save_file(halved, folder / file, metadata={"format": "pt"})
            placed |= dict.fromkeys(part, file)
        (folder / f"{name}.{form}.index.json").write_text(json.dumps({"weight_map": placed}))
        config = {
            "architectures": ["LlavaLlamaForCausalLM"], "model_type": "llava", "mm_vision_tower": str(towers / "clip"),
            "mm_projector_type": "mlp2x_gelu", "mm_vision_select_layer": -2, "mm_vision_select_feature": "patch",
            "mm_hidden_size": 32, "mm_use_im_start_end": False, "hidden_size": 32, "intermediate_size": 64,
            "num_hidden_layers": 3, "num_attention_heads": 2, "vocab_size": _TOKENS, "rms_norm_eps": 1e-6,
            "max_position_embeddings": 2048, "torch_dtype": "float16", "hidden_act": "silu",
        }  # fmt: skip
        (folder / "config.json").write_text(json.dumps({**config, **changes}))
        AutoTokenizer.from_pretrained(words, add_bos_token=False).save_pretrained(folder)
        return folder

    return write


@pytest.mark.parametrize("form", ["bin", "safetensors"])
@pytest.mark.parametrize("with_tower", [True, False])
def test_there_and_back(
    with_tower: bool, form: str, released: Any, state: dict[str, torch.Tensor], towers: Path, tmp_path: Path
) -> None:
    folder = released(with_tower=with_tower, form=form)
    target = tmp_path / "converted"
    # Where the checkpoint has a tower of its own, that of ``vision`` does not count.
    convert_llava(folder, None, target)
    written = load_file(target / "model.safetensors")
    assert written.keys() == state.keys()
    for key, tensor in written.items():
        assert tensor.dtype == torch.float16
        rows = _TOKENS if "embed_tokens" in key or "lm_head" in key else len(tensor)
        assert torch.equal(tensor[:rows], state[key][:rows].half()), key
    back = to_released(written, _TOKENS, with_tower=with_tower)
    tensors: dict[str, torch.Tensor] = {}
    for file in sorted(folder.glob("*-of-00002.*")):
        tensors |= load_file(file) if form == "safetensors" else torch.load(file, weights_only=True)
    del tensors["model.layers.0.self_attn.rotary_emb.inv_freq"]
    assert back.keys() == tensors.keys() and all(torch.equal(back[key], tensors[key]) for key in back)
    assert not list(tmp_path.glob("*.partial"))


def test_a_converted_folder_is_a_model_like_any(
    released: Any, state: dict[str, torch.Tensor], towers: Path, words: Path, tmp_path: Path, photograph: Any
) -> None:
    run = CliRunner().invoke(convert, ["llava", str(released()), str(tmp_path / "converted"), "--json"])
    assert run.exit_code == 0 and json.loads(run.stdout) == {"target": str(tmp_path / "converted")}, run.output
    loaded, report = AutoModelForImageTextToText.from_pretrained(tmp_path / "converted", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    assert loaded.dtype == torch.float16
    processor = AutoProcessor.from_pretrained(tmp_path / "converted")
    assert image_tokens(processor) == 16 and processor.image_processor.do_pad
    asked = [{"type": "image", "image": photograph}, {"type": "text", "text": "What is it?"}]
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": asked}],
        add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
    )  # fmt: skip
    assert inputs["input_ids"][0, 0] == processor.tokenizer.bos_token_id
    original, _ = build_lmm(vision=str(towers / "clip"), language=str(words), seed=5)
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path / "converted", dtype=torch.float32)
    with torch.no_grad():
        for one in original.parameters():
            one.copy_(one.half())  # what the checkpoint's precision left of it
        said, expected = loaded(**inputs).logits, original(**inputs).logits
    assert torch.allclose(said[..., :_TOKENS], expected[..., :_TOKENS], atol=1e-6)
    generated = loaded.generate(**inputs, max_new_tokens=4)
    assert generated.shape[1] > inputs["input_ids"].shape[1]


def test_a_tower_of_ones_own_goes_before_the_named_one(
    released: Any, state: dict[str, torch.Tensor], towers: Path, tmp_path: Path
) -> None:
    """As after pre-training, which trains the tower."""
    changed = {key: tensor + 1 if key.startswith("vision_tower.") else tensor for key, tensor in state.items()}
    folder = released(with_tower=True, form="safetensors")
    for file in folder.glob("*.safetensors"):
        tensors = load_file(file)
        theirs = to_released(changed, _TOKENS, with_tower=True)
        save_file({key: theirs.get(key, tensor) for key, tensor in tensors.items()}, file, metadata={"format": "pt"})
    convert_llava(folder, towers / "clip", tmp_path / "converted")
    written = load_file(tmp_path / "converted" / "model.safetensors")
    assert all(torch.equal(written[key], changed[key]) for key in written if key.startswith("vision_tower."))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vision_config": {}}, "is a LlavaLlamaForCausalLM in transformers' form: it needs no conversion"),
        (
            {"architectures": ["LlavaMistralForCausalLM"]},
            "is a LlavaMistralForCausalLM: a checkpoint of LLaVA's own code",
        ),
        ({"architectures": ["BertModel"]}, "is a BertModel: a checkpoint of LLaVA's own code around a Llama"),
        ({"mm_projector_type": "linear"}, "the projector of .* is linear: mlp2x_gelu"),
        ({"mm_use_im_start_end": True}, "marks pictures with <im_start> and <im_end>"),
        ({"mm_vision_select_feature": "cls"}, "mm_vision_select_feature of .* is cls: patch and cls_patch are known"),
        ({"num_hidden_layers": 4}, r"lacks 9 weights of a LLaVA with its config.json \(language_model.model.layers.3"),
        ({"num_hidden_layers": 2}, r"has 9 weights that a LLaVA .* has not \(model.layers.2.*: it is another model"),
        ({"intermediate_size": 96}, r"has the shape \[64, 32\], and its config.json and tower say \[96, 32\]"),
        ({"vocab_size": 910}, r"has the shape \[900, 32\], and its config.json and tower say \[910, 32\]"),
        ({"vocab_size": 800}, "the tokenizer has 900 tokens and the model 800 embeddings"),
        ({"mm_vision_tower": "/nowhere"}, "/nowhere cannot be loaded"),
    ],
)
def test_what_is_no_such_checkpoint_is_said_in_a_line(
    changes: dict[str, Any], message: str, released: Any, tmp_path: Path
) -> None:
    with pytest.raises(CaptionlakeError, match=message) as caught:
        convert_llava(released(**changes), None, tmp_path / "converted")
    assert "\n" not in str(caught.value) and not (tmp_path / "converted").exists()


def test_missing_and_damaged_files(released: Any, towers: Path, tmp_path: Path) -> None:
    folder = released()
    target = tmp_path / "converted"

    def refused(message: str) -> None:
        with pytest.raises(CaptionlakeError, match=message) as caught:
            convert_llava(folder, towers / "clip", target)
        assert "\n" not in str(caught.value) and not target.exists()

    shard = folder / "pytorch_model-00002-of-00002.bin"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    refused("pytorch_model-00002-of-00002.bin cannot be read as tensors")
    shard.unlink()
    refused(r"lacks 1 of 2 shards \(pytorch_model-00002-of-00002.bin\)")
    shard.write_bytes(whole)
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text("{")
    refused("released is no checkpoint: its config.json cannot be read")
    (folder / "config.json").write_text(config)
    for file in folder.glob("tokenizer*"):
        shutil.move(file, tmp_path)
    refused("released cannot be loaded")
    for file in tmp_path.glob("tokenizer*"):
        shutil.move(file, folder)
    target.mkdir()
    with pytest.raises(CaptionlakeError, match="converted exists: name a new folder"):
        convert_llava(folder, towers / "clip", target)
    target.rmdir()
    convert_llava(folder, towers / "clip", target)


def test_the_captioners_converter_is_a_command_too(released: Any, tmp_path: Path) -> None:
    arguments = ["captioner", str(released()), str(tmp_path / "converted")]
    with pytest.raises(CaptionlakeError, match="is no Share-Captioner of this size"):
        CliRunner().invoke(convert, arguments, catch_exceptions=False)
