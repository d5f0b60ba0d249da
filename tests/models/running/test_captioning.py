"""A checkpoint's captions in the lake: keys, batches, pictures that fail, short memory, kills, workers. All weights are random."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.models.captions import accepted, rows_to_caption
from captionlake.models.running import CheckpointCaptioner, GenerationConfig
from captionlake.models.running import captioning as module
from captionlake.models.running.workers import Processes
from captionlake.models.running.writing import Job

from ..conftest import Photographed, store_pictures
from .conftest import QUESTION, Made


def texts(lake: Lake) -> dict[str, str]:
    """Captions by picture; one each."""
    rows = lake.rows("SELECT image_id, text FROM captions")
    found = dict(rows)
    assert len(found) == len(rows)
    return found


def test_captions_and_where_they_come_from(
    lake: Lake, photographed: Photographed, captioner: Made, tiny_captioner: Path
) -> None:
    rows = photographed(11)
    model = captioner(tiny_captioner, batch_size=4)
    assert model.expect(lake, rows).pending == 11
    run = model.caption(lake, rows)
    assert (run.rows, run.wanted, run.present, run.captioned, run.left, run.n_failed) == (11, 11, 0, 11, 0, 0)
    assert run.batch_size == 4 and run.engine == "transformers" and run.workers == 1
    assert 0 < run.output_tokens <= 11 * 12 and run.images_per_second > 0 and run.tokens_per_second > 0
    found = lake.arrow("SELECT * FROM captions").to_pylist()
    assert {row["image_id"] for row in found} == set(rows.column("image_id").to_pylist()) and len(found) == 11
    row = found[0]
    assert (row["kind"], row["producer"], row["prompt_id"]) == ("captioner", "captioner:mine", "question")
    assert row["producer_revision"] == model.folder.sha256 == run.revision
    assert row["prompt_sha256"] == model.prompt.sha256 and model.prompt.text == QUESTION
    assert json.loads(row["params"]) == {
        "max_tokens": 12, "precision": "fp32", "sampling": "greedy", "weights": model.folder.sha256[:16]
    }  # fmt: skip
    assert row["finish_reason"] in ("stop", "length") and row["chars"] == len(row["text"]) and row["cost_usd"] is None
    assert sum(one["output_tokens"] for one in found) == run.output_tokens
    ((noted,),) = lake.rows("SELECT counts FROM runs WHERE step = 'caption' AND target = 'captioner:mine'")
    assert json.loads(noted)["images_per_second"] == run.images_per_second
    again = model.caption(lake, rows)
    assert (again.present, again.captioned, again.batch_size) == (11, 0, 0)
    got = accepted(lake, rows, model, snapshot=lake.snapshot()).column("caption_id").to_pylist()
    assert sorted(got) == sorted(one["caption_id"] for one in found)


def test_what_decides_a_caption_is_its_key(
    lake: Lake, photographed: Photographed, captioner: Made, tiny_captioner: Path, tmp_path: Path
) -> None:
    import shutil

    rows = photographed(3)
    changed: list[dict[str, Any]] = [
        {},
        {"question": "Why?"},
        {"max_tokens": 5},
        {"precision": "bf16"},
        {"sampling": "authors"},
        {"sampling": "authors", "seed": 1},
    ]
    for changes in changed:
        model = captioner(tiny_captioner, **changes)
        assert model.caption(lake, rows).captioned == 3, changes
    same: list[dict[str, Any]] = [{"batch_size": 1}, {"workers": 1}, {"engine": "transformers"}]
    for changes in same:
        assert captioner(tiny_captioner, **changes).caption(lake, rows).captioned == 0, changes
    trained_on = shutil.copytree(tiny_captioner, tmp_path / "tiny")
    data = bytearray((trained_on / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (trained_on / "model.safetensors").write_bytes(data)
    assert captioner(trained_on).caption(lake, rows).captioned == 3


def test_the_same_caption_whatever_the_batch(
    lake: Lake, photographed: Photographed, captioner: Made, either: Path
) -> None:
    rows = photographed(9)
    many = captioner(either, batch_size=9)
    assert many.caption(lake, rows).captioned == 9
    at_once = texts(lake)
    lake.commit(lambda connection: connection.execute("DELETE FROM captions").fetchall())
    captioner(either, batch_size=1).caption(lake, rows)
    assert texts(lake) == at_once and len(set(at_once.values())) > 1
    lake.commit(lambda connection: connection.execute("DELETE FROM captions").fetchall())
    captioner(either, batch_size=4).caption(lake, rows.slice(2, 5))
    assert texts(lake).items() <= at_once.items()


def test_two_workers_write_what_one_writes(
    lake: Lake, photographed: Photographed, captioner: Made, tiny_captioner: Path
) -> None:
    rows = photographed(40)
    captioner(tiny_captioner).caption(lake, rows)
    alone = texts(lake)
    lake.commit(lambda connection: connection.execute("DELETE FROM captions").fetchall())
    run = captioner(tiny_captioner, workers=2, batch_size=3).caption(lake, rows)
    assert (run.captioned, run.workers, run.batch_size, run.left) == (40, 2, 3, 0)
    assert texts(lake) == alone


def test_pictures_that_cannot_be_read_are_named(
    lake: Lake, photographed: Photographed, captioner: Made, tiny_captioner: Path, tiles: Callable[[int], list[bytes]]
) -> None:
    """One that ends in its middle, one whose bytes were damaged on the disk; the others get their captions."""
    rows = photographed(8)
    half = tiles(9)[-1]
    store_pictures(lake, [half[: len(half) // 2]], source="half")
    damaged = rows.slice(0, 1).to_pylist()[0]
    with (lake.path / "images" / damaged["shard"]).open("r+b") as file:
        file.seek(damaged["offset"])
        file.write(b"\0\0\0\0")
    run = captioner(tiny_captioner, batch_size=4).caption(lake, rows_to_caption(lake))
    assert (run.captioned, run.failed, run.left) == (7, {"bad_picture": 2}, 0)
    cut = lake.value("SELECT image_id FROM images WHERE source = 'half'")
    assert run.given_up == {cut: "bad_picture", damaged["image_id"]: "bad_picture"}
    assert any(damaged["image_id"] in line and "the bytes are not those" in line for line in run.failures)
    assert any(cut in line and "truncated" in line for line in run.failures)


def test_a_limit(lake: Lake, photographed: Photographed, captioner: Made, tiny_captioner: Path) -> None:
    rows = photographed(7)
    run = captioner(tiny_captioner, batch_size=2).caption(lake, rows, limit=3)
    assert (run.captioned, run.left) == (3, 4)
    assert captioner(tiny_captioner).caption(lake, rows, limit=100).captioned == 4


def test_an_end_is_told_from_a_cut(
    lake: Lake, photographed: Photographed, captioner: Made, llava: Path, tmp_path: Path
) -> None:
    """The model's mark of the end becomes a token that it writes; what a batch writes after it belongs to no caption."""
    import shutil

    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    rows = photographed(6)
    captioner(llava, max_tokens=20).caption(lake, rows)
    before = texts(lake)
    folder = shutil.copytree(llava, tmp_path / "ends")
    processor = AutoProcessor.from_pretrained(folder)
    written = [processor.tokenizer(text, add_special_tokens=False)["input_ids"] for text in before.values()]
    frequent = Counter(token for tokens in written for token in set(tokens))
    mark = min(frequent, key=lambda token: (abs(frequent[token] - 3), token))  # about half of them have it
    model = AutoModelForImageTextToText.from_pretrained(folder)
    model.generation_config.eos_token_id = [2, mark]
    model.save_pretrained(folder)
    run = captioner(folder, max_tokens=20, batch_size=6).caption(lake, rows)
    told = lake.rows(
        "SELECT image_id, text, output_tokens, finish_reason FROM captions WHERE producer = 'captioner:ends'"
    )
    reasons = Counter(reason for *_, reason in told)
    assert reasons["stop"] + run.n_failed > 0 and reasons["length"] == run.cut_off > 0
    for image_id, text, tokens, reason in told:
        assert before[image_id].startswith(text)
        assert tokens == 20 if reason == "length" else tokens <= 20
        assert (text == before[image_id]) == (reason == "length" or tokens == 20)
    assert torch.get_num_threads() >= 1


def test_sampling_as_the_authors(lake: Lake, photographed: Photographed, captioner: Made, tiny_captioner: Path) -> None:
    rows = photographed(4)
    found = []
    for _ in range(2):
        captioner(tiny_captioner, sampling="authors").caption(lake, rows)
        found.append(texts(lake))
        lake.commit(lambda connection: connection.execute("DELETE FROM captions").fetchall())
    assert found[0] == found[1]
    captioner(tiny_captioner, sampling="authors", seed=5).caption(lake, rows)
    assert texts(lake) != found[0]
    with pytest.raises(CaptionlakeError, match="vLLM does not know ShareCaptioner"):
        captioner(tiny_captioner, engine="vllm").caption(lake, rows)


def test_vllm_where_it_is_not_installed(lake: Lake, photographed: Photographed, captioner: Made, llava: Path) -> None:
    with pytest.raises(CaptionlakeError, match="vllm is not installed"):
        captioner(llava, engine="vllm").caption(lake, photographed(1))


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")]
)
def test_short_memory_halves_the_batch(
    lake: Lake,
    photographed: Photographed,
    captioner: Made,
    tiny_captioner: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    """The model's ``generate`` raises what torch raises when memory is short, for more than three pictures at a time."""
    from captionlake.models.captioner import ShareCaptionerForConditionalGeneration as Model

    rows = photographed(20)
    captioner(tiny_captioner).caption(lake, rows)
    whole = texts(lake)
    lake.commit(lambda connection: connection.execute("DELETE FROM captions").fetchall())
    generate, most, sizes = Model.generate, 3, []

    def short(self: Any, **inputs: Any) -> Any:
        sizes.append(len(inputs["input_ids"]))
        if sizes[-1] > most:
            raise error
        return generate(self, **inputs)

    monkeypatch.setattr(Model, "generate", short)
    run = captioner(tiny_captioner, batch_size=16).caption(lake, rows)
    assert (run.captioned, run.batch_size) == (20, 2) and sizes[0] == 16 and max(sizes[-4:]) == 2
    assert texts(lake) == whole
    most = 0
    lake.commit(lambda connection: connection.execute("DELETE FROM captions").fetchall())
    with pytest.raises(CaptionlakeError, match="no memory on cpu for one picture at a time: lower --max-tokens"):
        captioner(tiny_captioner, batch_size=4).caption(lake, rows)


def test_other_errors_are_not_taken_for_short_memory(
    lake: Lake, photographed: Photographed, captioner: Made, tiny_captioner: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from captionlake.models.captioner import ShareCaptionerForConditionalGeneration as Model

    generate = Model.generate

    def fails(self: Any, **inputs: Any) -> Any:
        if len(inputs["input_ids"]) < 4:
            raise RuntimeError("a defect")
        return generate(self, **inputs)

    monkeypatch.setattr(Model, "generate", fails)
    rows = photographed(6)
    with pytest.raises(RuntimeError, match="a defect"):
        captioner(tiny_captioner, batch_size=4).caption(lake, rows)
    assert len(texts(lake)) == 4  # what was written before is kept


def test_new_ones_beside_the_same_are_refused(
    lake: Lake, photographed: Photographed, captioner: Made, llava: Path
) -> None:
    with pytest.raises(CaptionlakeError, match="would write the same captions again"):
        captioner(llava).caption(lake, photographed(1), redo=True)


RUN = """
import json, sys
from pathlib import Path
from captionlake.lake import Lake
from captionlake.models.captions import rows_to_caption
from captionlake.models.running import CheckpointCaptioner, GenerationConfig
import captionlake.models.running.captioning as module
module.COMMIT_ROWS = 10
if __name__ == "__main__":
    told = json.loads(sys.argv[1])
    with Lake.open(told["lake"]) as lake:
        captioner = CheckpointCaptioner.find(told["folder"], GenerationConfig(**told["config"]))
        run = captioner.caption(lake, rows_to_caption(lake))
    print(run.captioned, run.present)
"""


def start(lake: Path, folder: Path, script: Path, **config: Any) -> "subprocess.Popen[str]":
    script.write_text(RUN)
    settings = {"max_tokens": 40, "batch_size": 2, "precision": "fp32", "device": "cpu", **config}
    told = json.dumps({"lake": str(lake), "folder": str(folder), "config": settings})
    return subprocess.Popen(
        [sys.executable, str(script), told], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def wait_for(lake: Lake, count: int, process: "subprocess.Popen[str]") -> int:
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        if (there := int(lake.value("SELECT count(*) FROM captions"))) >= count:
            return there
        time.sleep(0.02)
    raise AssertionError(f"ended before {count} captions were there")


def test_killed_and_run_again(
    lake: Lake, photographed: Photographed, captioner: Made, llava: Path, tmp_path: Path
) -> None:
    """At most the captions since the last commit are lost, and none is there twice."""
    rows = photographed(100)
    process = start(lake.path, llava, tmp_path / "run.py")
    wait_for(lake, 20, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    there = int(lake.value("SELECT count(*) FROM captions"))
    assert 20 <= there < 100 and there % 10 == 0
    process = start(lake.path, llava, tmp_path / "run.py")
    wait_for(lake, there + 10, process)
    process.send_signal(signal.SIGINT)  # Ctrl-C: what was written is committed
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0 and "KeyboardInterrupt" in errors
    after = int(lake.value("SELECT count(*) FROM captions"))
    assert there + 10 <= after < 100
    run = captioner(llava, max_tokens=40).caption(lake, rows)
    assert (run.captioned, run.present) == (100 - after, after)
    assert len(texts(lake)) == rows.num_rows


def workers_of(pid: int, count: int) -> list[Any]:
    """The processes that write, once they have begun."""
    import psutil

    end = time.monotonic() + 60
    while time.monotonic() < end:
        with suppress(psutil.ZombieProcess):  # one that is gone again, such as a question for the processor's kind
            found = [one for one in psutil.Process(pid).children() if "spawn_main" in " ".join(one.cmdline())]
            if len(found) == count:
                return found
        time.sleep(0.02)
    raise AssertionError(f"no {count} workers")


def test_a_worker_that_dies(lake: Lake, photographed: Photographed, captioner: Made, llava: Path) -> None:
    rows = photographed(4)
    with ThreadPoolExecutor(1) as thread:
        jobs = [Job("id", image_id, None) for image_id in rows.column("image_id").to_pylist()]
        results = Processes(captioner(llava), ["cpu"]).results(lake.images, jobs)
        done = thread.submit(list, results)
        workers_of(os.getpid(), 1)[0].kill()
        with pytest.raises(
            CaptionlakeError, match="ended with status -9, most likely for want of memory: lower --batch"
        ):
            done.result(60)


def test_workers_end_with_their_parent(lake: Lake, photographed: Photographed, llava: Path, tmp_path: Path) -> None:
    import psutil

    photographed(4)
    process = start(lake.path, llava, tmp_path / "run.py", workers=2)
    workers = workers_of(process.pid, 2)
    process.kill()
    process.communicate()
    gone, alive = psutil.wait_procs(workers, timeout=60)
    assert len(gone) == 2 and not alive


def test_what_a_worker_cannot_load_is_told_by_the_parent(
    lake: Lake, photographed: Photographed, captioner: Made, copied: Path
) -> None:
    rows = photographed(2)
    model = captioner(copied)
    assert model.params
    (copied / "tokenizer.json").unlink()
    jobs = [Job("id", image_id, None) for image_id in rows.column("image_id").to_pylist()]
    with pytest.raises(CaptionlakeError, match="has no processor that can be read"):
        list(Processes(model, ["cpu"]).results(lake.images, jobs))


def test_a_run_while_another_runs_is_refused(
    lake: Lake, photographed: Photographed, captioner: Made, llava: Path
) -> None:
    from captionlake.models.teacher.spool import spool_lock

    rows = photographed(1)
    with (
        spool_lock(lake.path / "spool", "captioner:random-llava"),
        pytest.raises(CaptionlakeError, match="another process"),
    ):
        captioner(llava).caption(lake, rows)


def test_commits_by_time(
    lake: Lake, photographed: Photographed, captioner: Made, llava: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COMMIT_SECONDS", 0.0)
    before = lake.snapshot()
    captioner(llava, batch_size=2).caption(lake, photographed(6))
    assert lake.snapshot() - before >= 6


def test_settings_are_those_of_the_configuration(llava: Path) -> None:
    """Nothing that decides a text comes from the checkpoint's own ``generation_config.json``."""
    from captionlake.models.running import Checkpoint
    from captionlake.models.running.transformers_engine import settings

    loaded = Checkpoint.load(llava, device="cpu", precision="fp32")
    loaded.model.generation_config.do_sample = True
    loaded.model.generation_config.repetition_penalty = 1.3
    made = settings(loaded, GenerationConfig())
    assert (made.do_sample, made.num_beams, made.max_new_tokens, made.repetition_penalty) in (
        (False, 1, 512, 1.0),
        (False, 1, 512, None),
    )
    authors = settings(loaded, GenerationConfig(sampling="authors"))
    assert (authors.do_sample, authors.num_beams, authors.max_new_tokens, authors.temperature) == (True, 3, 500, 1.0)


def test_the_question(captioner: Made, tiny_captioner: Path, llava: Path) -> None:
    """The configuration's, else the recipe's, else that of training, else the unified one."""
    unified = "Analyze the image in a comprehensive and detailed manner."
    assert captioner(llava).prompt.text == unified
    assert captioner(tiny_captioner).prompt.text == QUESTION
    assert CheckpointCaptioner.find(tiny_captioner, GenerationConfig(), question="Recipe's?").prompt.text == "Recipe's?"
    asked = replace(GenerationConfig(), question="Mine?")
    assert CheckpointCaptioner.find(tiny_captioner, asked, question="Recipe's?").prompt.text == "Mine?"


def test_rows_of_the_same_picture_are_captioned_once(
    lake: Lake, photographed: Photographed, captioner: Made, llava: Path, tiles: Callable[[int], list[bytes]]
) -> None:
    photographed(3)
    store_pictures(lake, tiles(3), source="again")
    rows: pa.Table = rows_to_caption(lake)
    model = captioner(llava)
    run = model.caption(lake, rows)
    assert (run.rows, run.wanted, run.captioned) == (6, 3, 3)
    assert None not in accepted(lake, rows, model, snapshot=lake.snapshot()).column("caption_id").to_pylist()
