"""Checkpoints that load, and one line for each that does not."""

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from captionlake.errors import CaptionlakeError
from captionlake.models.running import Checkpoint, CheckpointFolder

from .conftest import change_json, record


def test_either_family_loads(either: Path) -> None:
    loaded = Checkpoint.load(either, device="cpu", precision="bf16")
    import torch

    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.bfloat16}
    assert not loaded.model.training
    assert loaded.folder.is_llava == (either.name == "random-llava")
    assert loaded.folder.name == ("random-llava" if loaded.folder.is_llava else "mine")
    assert len(loaded.folder.sha256) == 64


def test_the_hash_is_of_the_weights(copied: Path) -> None:
    before = CheckpointFolder.find(copied).sha256
    (copied / "README.md").write_text("A card.")
    assert CheckpointFolder.find(copied).sha256 == before
    data = bytearray((copied / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (copied / "model.safetensors").write_bytes(data)
    assert CheckpointFolder.find(copied).sha256 != before


def lose_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def break_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def become_a_text_model(folder: Path) -> None:
    change_json(folder / "config.json", model_type="bert", architectures=["BertForMaskedLM"])


def become_unknown(folder: Path) -> None:
    change_json(folder / "config.json", model_type="unheard_of", architectures=["UnheardOf"])


def become_text_generation(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())["text_config"]
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["LlamaForCausalLM"]}))


def lose_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def pickle_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def cut_weights(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:-1000])


def empty_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")


def lose_a_shard(folder: Path) -> None:
    shard(folder)
    (folder / "model-00002-of-00003.safetensors").unlink()


def leave_the_folder(folder: Path) -> None:
    shard(folder)
    change_json(folder / "model.safetensors.index.json", weight_map={"a": "../model.safetensors"})


def lose_a_tensor(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    del tensors[next(name for name in tensors if "projector" in name)]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def narrow_a_tensor(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if "projector" in name and name.endswith("weight"))
    tensors[name] = tensors[name][:, :-1].contiguous()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def add_tokens(folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"<{number}>" for number in range(50)])
    tokenizer.save_pretrained(folder)


def lose_the_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


def lose_the_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()


def break_the_record(folder: Path) -> None:
    (folder / "captionlake.json").write_text('{"name": "half"}')


def shard(folder: Path) -> None:
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size=sum(p.numel() * p.element_size() for p in model.parameters()) * 2 // 5)
    assert len(list(folder.glob("model-*-of-00003.safetensors"))) == 3


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lose_config, "has no config.json"),
        (break_config, "config.json is no JSON"),
        (become_a_text_model, "is a BertForMaskedLM (bert), no model of pictures and texts"),
        (become_text_generation, "is a LlamaForCausalLM (llama), no model of pictures and texts"),
        (become_unknown, "is a UnheardOf (unheard_of), no model of pictures and texts"),
        (lose_weights, "has no weights: it needs model.safetensors"),
        (pickle_weights, "has its weights pickled (pytorch_model.bin), and nothing is unpickled here"),
        (cut_weights, "model.safetensors is not whole"),
        (empty_weights, "model.safetensors is not whole (0 bytes"),
        (lose_a_shard, "lacks 1 of 3 files of weights (model-00002-of-00003.safetensors)"),
        (leave_the_folder, "names no files of this folder"),
        (lose_a_tensor, "lack 1 tensors of its LlavaForConditionalGeneration (model.multi_modal_projector"),
        (
            narrow_a_tensor,
            "have another shape in 1 tensors of its LlavaForConditionalGeneration (model.multi_modal_projector",
        ),
        (add_tokens, "the tokenizer has 310 tokens and the model embeds 260"),
        (lose_the_tokenizer, "has no processor that can be read"),
        (lose_the_template, "has no chat_template.jinja"),
        (break_the_record, "captionlake.json cannot be read"),
    ],
)
def test_what_is_wrong_is_one_line(copied: Path, damage: Callable[[Path], None], said: str) -> None:
    damage(copied)
    with pytest.raises(CaptionlakeError) as error:
        Checkpoint.load(copied, device="cpu", precision="fp32")
    assert said in str(error.value) and str(copied) in str(error.value)
    assert "\n" not in str(error.value) and ": " in str(error.value)


def test_whole_shards_load(copied: Path) -> None:
    shard(copied)
    assert len(Checkpoint.load(copied, device="cpu", precision="fp32").folder.weights) == 3


def test_where_there_is_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    for name in ("checkpoints/missing", "/no/such", "mine"):
        with pytest.raises(CaptionlakeError, match="no such folder"):
            CheckpointFolder.find(name)
    (tmp_path / "file").write_text("")
    with pytest.raises(CaptionlakeError, match="is a file"):
        CheckpointFolder.find("file")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CaptionlakeError, match="nobody/nothing is no folder here, and the Hub did not give it"):
        CheckpointFolder.find("nobody/nothing")


def test_a_device_that_is_not_there(llava: Path) -> None:
    import torch

    if not torch.cuda.is_available():
        with pytest.raises(CaptionlakeError, match="torch finds none: give cpu or auto"):
            Checkpoint.load(llava, device="cuda")
    with pytest.raises(CaptionlakeError, match="not one of torch's"):
        Checkpoint.load(llava, device="abacus")


def test_code_of_a_checkpoint_is_not_run(copied: Path) -> None:
    """A checkpoint that brings code for its classes is read by transformers' own, or refused."""
    (copied / "evil.py").write_text(f"open({str(copied / 'ran')!r}, 'w')\nclass Evil: pass\n")
    change_json(
        copied / "config.json", auto_map={"AutoModelForImageTextToText": "evil.Evil", "AutoConfig": "evil.Evil"}
    )
    change_json(copied / "processor_config.json", auto_map={"AutoProcessor": "evil.Evil"})
    with suppress(CaptionlakeError):
        Checkpoint.load(copied, device="cpu", precision="fp32")
    assert not (copied / "ran").exists()


def test_a_record_names_the_checkpoint(copied: Path) -> None:
    from captionlake.models.checkpoint import read_record, write_record

    assert CheckpointFolder.find(copied).name == "copied"
    write_record(copied, record("mine-v2", None))
    assert read_record(copied) == record("mine-v2", None)
    assert CheckpointFolder.find(copied).name == "mine-v2"
    moved = Path(shutil.move(copied, copied.with_name("elsewhere")))
    assert CheckpointFolder.find(moved).name == "mine-v2"
