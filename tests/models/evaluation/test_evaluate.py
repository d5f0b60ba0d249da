"""``captionlake eval`` from end to end: a LLaVA of RANDOM weights, official files, a judge over HTTP. Its scores mean nothing."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from captionlake.errors import CaptionlakeError
from captionlake.eval_command import _BENCHMARKS
from captionlake.eval_command import evaluate as command
from captionlake.models.evaluation import EvalConfig, Results, evaluate, judge_config, kinds
from captionlake.models.evaluation.answering import Question
from captionlake.models.evaluation.checkpoint_answers import CheckpointAnswers
from captionlake.models.evaluation.results import COLUMNS, paper_rows
from captionlake.models.running.loading import Checkpoint

from .judge_server import JudgeServer, Told

Bench = dict[str, Path]
TOKENS = 8


def run(model: Path, output: Path, bench: Bench, **config: Any) -> Results:
    return evaluate(model, EvalConfig(benchmarks=bench, max_tokens=TOKENS, device="cpu", **config), output)


def judged(number: int, body: Told) -> str:
    """A judge that gives the same scores to all, and has nothing to say about one of the samples."""
    content = body["messages"][1]["content"]
    if "description" in content:
        return "no scores" if "What is tile3?" in content and "made-up answer about tile3" in content else "8 4"
    return "0.5"


def answers_in(output: Path, name: str) -> dict[str, dict[str, Any]]:
    path = output.parent / f"{output.stem}.kept" / "answers" / f"{name}.jsonl"
    return {line["item"]: line for line in map(json.loads, path.read_text().splitlines())}


def test_all_benchmarks_from_answers_to_the_table(tmp_path: Path, random_llava: Path, bench: Bench) -> None:
    output = tmp_path / "results.json"
    with JudgeServer(judged) as server:
        results = run(random_llava, output, bench, judge=judge_config("judge-1", url=server.url))
        assert len(server.seen) == 12
    told = json.loads(output.read_text())
    assert told == json.loads(json.dumps(results.data()))
    found = {one["benchmark"]: one for one in told["outcomes"]}
    assert found["mm-vet"]["scores"] == {"MM-Vet": pytest.approx(50.0)}
    assert found["llava-w"]["scores"] == {"LLaVA-W": pytest.approx(50.0)}
    assert found["llava-w"]["counts"] == {
        "questions": 8,
        "asked": 8,
        "missing_pictures": 0,
        "judged": 8,
        "failed_judgements": 0,
        "unparsed_judgements": 2,
    }
    for name in ("mme", "mmbench", "seed", "pope"):
        counts = found[name]["counts"]
        assert counts["asked"] == counts["questions"] == len(answers_in(output, name))
        assert counts["unparsed_answers"] >= len(found[name]["unparsed"]) > 0  # random weights say no yes
    assert found["seed"]["hashes"]["files"].keys() == {"SEED-Bench.json"}
    assert len(told["weights_sha256"]) == 64 and told["record"] is None
    assert told["versions"].keys() == {"captionlake", "torch", "transformers", "python"}
    assert told["judge"]["model"] == "judge-1"
    text = results.text()
    assert "1567.4" in text and "1510.7" in text and "50.0*" in text
    assert "2 judgements could not be parsed" in text


def test_the_table_has_a_dash_where_nothing_ran(tmp_path: Path, random_llava: Path, bench: Bench) -> None:
    results = run(random_llava, tmp_path / "r.json", {"mm-vet": bench["mm-vet"]})
    ours = results.text().splitlines()[2]
    assert ours.split()[1:] == ["–"] * len(COLUMNS)
    assert "no judge was given" in results.text()
    assert all(scores.keys() <= set(COLUMNS) for _, scores in paper_rows()) and len(paper_rows()) == 5


def test_answers_wait_for_a_judge_and_need_no_model_then(tmp_path: Path, random_llava: Path, bench: Bench) -> None:
    output, wild = tmp_path / "r.json", {"llava-w": bench["llava-w"]}
    run(random_llava, output, wild)
    kept = answers_in(output, "llava-w")
    (random_llava / "tokenizer.json").rename(random_llava / "hidden")  # with it, no model loads
    try:
        with JudgeServer(judged) as server:
            results = run(random_llava, output, wild, judge=judge_config("judge-1", url=server.url))
    finally:
        (random_llava / "hidden").rename(random_llava / "tokenizer.json")
    assert results.outcomes[0].scores == {"LLaVA-W": pytest.approx(50.0)}
    assert answers_in(output, "llava-w") == kept


def test_a_limit_is_partial_and_its_answers_are_taken_up(tmp_path: Path, random_llava: Path, bench: Bench) -> None:
    output, pope = tmp_path / "r.json", {"pope": bench["pope"]}
    partial = run(random_llava, output, pope, limit=5)
    assert partial.outcomes[0].incomplete == ("partial: 5 of 24 questions",)
    first = answers_in(output, "pope")
    assert len(first) == 5
    whole = run(random_llava, output, pope)
    assert whole.outcomes[0].incomplete == ()
    assert first.items() <= answers_in(output, "pope").items() and len(answers_in(output, "pope")) == 24


def test_another_checkpoint_gets_questions_of_its_own(tmp_path: Path, random_llava: Path, bench: Bench) -> None:
    import torch
    from transformers import AutoProcessor, LlavaForConditionalGeneration

    other = tmp_path / "other"
    model = LlavaForConditionalGeneration.from_pretrained(random_llava)
    with torch.no_grad():
        model.lm_head.weight.add_(torch.randn_like(model.lm_head.weight))
    model.save_pretrained(other)
    AutoProcessor.from_pretrained(random_llava).save_pretrained(other)
    output, pope = tmp_path / "r.json", {"pope": bench["pope"]}
    run(random_llava, output, pope)
    results = run(other, output, pope)
    lines = (output.parent / "r.kept" / "answers" / "pope.jsonl").read_text().splitlines()
    assert len(lines) == 48
    assert results.checkpoint == "other"


def test_missing_and_broken_pictures_are_counted_and_named(tmp_path: Path, random_llava: Path, bench: Bench) -> None:
    val = sorted((bench["pope"] / "val2014").iterdir())
    val[0].unlink()
    val[1].write_bytes(val[1].read_bytes()[:200])
    results = run(random_llava, tmp_path / "r.json", {"pope": bench["pope"]})
    (one,) = results.outcomes
    assert one.counts["missing_pictures"] == 12 and one.counts["asked"] == 12
    assert any(val[0].name in name and "missing_member" in name for name in one.missing)
    assert any(val[1].name in name and "missing_member" not in name for name in one.missing)
    assert "12 questions were not asked" in one.incomplete[0]
    assert re.search(r"^\* pope: 12 questions", results.text(), re.MULTILINE)


def test_a_batch_answers_as_single_questions_do(random_llava: Path, photographs: dict[str, Any]) -> None:
    """Questions of different lengths, padded on the left; in 32 bits."""
    checkpoint = Checkpoint.load(random_llava, device="cpu", precision="fp32")
    texts = ["Is there a cat?", "What?", "Describe this picture in all its many details, at length.", "Who is it?"]
    questions = [
        Question(str(number), text, image.resize((64, 64)))
        for number, (text, image) in enumerate(zip(texts, photographs.values(), strict=False))
    ]
    answers = CheckpointAnswers(checkpoint)
    together = answers.answer(questions, 12)
    assert together == [answers.answer([question], 12)[0] for question in questions]
    assert len(set(together)) > 1


def test_memory_that_runs_out_halves_the_batch(random_llava: Path, photographs: dict[str, Any]) -> None:
    checkpoint = Checkpoint.load(random_llava, device="cpu", precision="fp32")
    image = photographs["chelsea"].resize((64, 64))
    questions = [Question(str(number), f"Question {number}?", image) for number in range(4)]
    answers = CheckpointAnswers(checkpoint, 4)
    expected = answers.answer(questions, 4)
    generate = checkpoint.model.generate

    def small(**inputs: Any) -> Any:
        if inputs["input_ids"].shape[0] > 1:
            raise MemoryError("made up")
        return generate(**inputs)

    checkpoint.model.generate = small
    assert answers.answer(questions, 4) == expected
    assert answers.batch_size == 1


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path, random_llava: Path, bench: Bench) -> None:
    output = tmp_path / "r.json"
    program = [sys.executable, "-m", "captionlake", "eval", str(random_llava), "-o", str(output), "--device", "cpu"]
    program += ["--batch-size", "1", "--benchmark", f"pope={bench['pope']}"]
    process = subprocess.Popen(program, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=os.environ)
    path = tmp_path / "r.kept" / "answers" / "pope.jsonl"
    try:
        deadline = time.monotonic() + 60
        while not (path.exists() and path.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    before = path.read_bytes()
    with path.open("ab") as file:
        file.write(b'{"key": "torn')
    done = CliRunner().invoke(command, [*program[4:], "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["outcomes"][0]["counts"]["asked"] == 24
    whole = before[: before.rfind(b"\n") + 1]
    assert path.read_bytes().startswith(whole) and len(path.read_bytes().splitlines()) == 24


def test_a_judge_without_a_key_is_told_before_anything_is_answered(
    tmp_path: Path, random_llava: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(CaptionlakeError, match="OPENAI_API_KEY"):
        run(random_llava, tmp_path / "r.json", bench, judge=judge_config("judge-1"))
    assert not (tmp_path / "r.kept").exists()


def test_problems_with_several_benchmarks_are_told_at_once(tmp_path: Path, random_llava: Path, bench: Bench) -> None:
    with pytest.raises(CaptionlakeError) as caught:
        run(random_llava, tmp_path / "r.json", bench | {"mme": tmp_path / "gone", "seed": tmp_path / "away"})
    lines = caught.value.lines  # type: ignore[attr-defined]
    assert [line.split(":")[0] for line in lines] == ["mme", "seed"]
    assert not (tmp_path / "r.kept").exists()


def test_two_runs_do_not_write_one_file(tmp_path: Path, random_llava: Path, bench: Bench) -> None:
    from captionlake.models.evaluation.answering import kept_lines

    with (
        kept_lines(tmp_path / "r.kept" / "answers" / "pope.jsonl"),
        pytest.raises(CaptionlakeError, match="another process"),
    ):
        run(random_llava, tmp_path / "r.json", {"pope": bench["pope"]})


def test_the_command_names_the_benchmarks_that_are_known() -> None:
    assert _BENCHMARKS.split(", ") == list(kinds())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--benchmark", "mmme=x"], "NAME is one of"),
        (["--benchmark", "mme"], "NAME=PATH"),
        (["--benchmark", "mme=x", "--benchmark", "mme=y"], "given twice"),
        (["--benchmark", "mme=x", "--judge", "gpt-4o"], "openai:MODEL"),
        (["--benchmark", "mme=x", "--judge-url", "http://x/v1"], "belong to --judge"),
    ],
)
def test_wrong_usage(arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(command, ["model", *arguments])
    assert done.exit_code == 2 and said in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("max_tokns = 3", "max_tokns"),
        ("max_tokens = 0", "max_tokens"),
        ("x", "cannot be read"),
        ('mode = "batch"', "live"),
    ],
)
def test_settings_of_the_judge_that_do_not_hold(tmp_path: Path, settings: str, said: str) -> None:
    path = tmp_path / "judge.toml"
    path.write_text(settings)
    arguments = ["model", "--benchmark", "mme=x", "--judge", "openai:m", "--judge-settings", str(path)]
    done = CliRunner().invoke(command, arguments)
    assert isinstance(done.exception, CaptionlakeError) and said in str(done.exception)
