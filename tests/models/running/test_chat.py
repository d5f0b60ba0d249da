"""Rounds of questions and answers: what the model is told, how an answer stops, the terminal and the pipe. The weights are random."""

import json
import os
import pty
import re
import runpy
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from captionlake.errors import CaptionlakeError
from captionlake.models.chat_command import chat as chat_command
from captionlake.models.running import Chat

Photos = dict[str, Image.Image]


@pytest.fixture
def chat(either: Path) -> Chat:
    return Chat.load(either, max_tokens=10, device="cpu", precision="fp32")


def by_hand(chat: Chat, messages: list[dict[str, Any]], pictures: list[Image.Image]) -> str:
    """The answer by transformers alone."""
    processor, model = chat.checkpoint.processor, chat.checkpoint.model
    text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    inputs = processor(images=pictures or None, text=text, return_tensors="pt")
    output = model.generate(**inputs, do_sample=False, num_beams=1, max_new_tokens=10)
    return str(processor.tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)).strip()


def said(role: str, text: str, pictures: int = 0) -> dict[str, Any]:
    return {"role": role, "content": [*({"type": "image"} for _ in range(pictures)), {"type": "text", "text": text}]}


def test_what_was_said_is_told_again(chat: Chat, photographs: Photos, tmp_path: Path) -> None:
    cat, coffee = photographs["chelsea"], photographs["coffee"]
    cat.save(tmp_path / "cat.png")
    first = chat.ask("What is this?", image=tmp_path / "cat.png")
    asked = [said("user", "What is this?", 1)]
    assert first == by_hand(chat, asked, [cat])
    assert chat.last is not None and 0 < chat.last.output_tokens <= 10 and chat.last.text == first
    second = chat.ask("What colour is it?")
    asked += [said("assistant", first), said("user", "What colour is it?")]
    assert second == by_hand(chat, asked, [cat])
    third = chat.ask("And this?", image=coffee)
    asked += [said("assistant", second), said("user", "And this?", 1)]
    assert third == by_hand(chat, asked, [cat, coffee])
    chat.reset()
    assert chat.ask("What is this?") == by_hand(chat, [said("user", "What is this?", 2)], [cat, coffee])


def test_words_that_would_be_a_picture(chat: Chat, photographs: Photos, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CaptionlakeError, match="the question holds <image>, which stands for a picture"):
        chat.ask("What is <image>?", image=photographs["chelsea"])
    from captionlake.models.running.chat import _Writing

    monkeypatch.setattr(_Writing, "pieces", lambda self: (piece for piece in ("An <image", "> of a cat.")))
    assert chat.ask("What?", image=photographs["chelsea"]) == "An <image> of a cat."
    monkeypatch.undo()
    assert chat.ask("And?")  # the history has one picture, and the model gets one


def test_without_a_picture(chat: Chat) -> None:
    assert chat.ask("Hello?") == by_hand(chat, [said("user", "Hello?")], [])


def test_pieces_are_the_answer_and_stopping_keeps_what_came(llava: Path, photographs: Photos) -> None:
    chat = Chat.load(llava, max_tokens=400, device="cpu", precision="fp32")
    chat.show(photographs["chelsea"])
    pieces: Iterator[str] = chat.stream("What is this?")
    came = [next(pieces), next(pieces)]
    pieces.close()  # type: ignore[attr-defined]
    assert chat.last is not None and chat.last.finish_reason == "stopped" and chat.last.output_tokens < 400
    assert chat.last.text == "".join(came).strip()
    whole = Chat.load(llava, max_tokens=30, device="cpu", precision="fp32")
    pieces_of_whole = list(whole.stream("What is this?", photographs["chelsea"]))
    assert len(pieces_of_whole) > 1 and whole.last is not None and whole.last.finish_reason == "length"
    assert "".join(pieces_of_whole).strip() == whole.last.text
    assert whole.last.text.startswith(came[0])
    assert chat.ask("Go on")  # the model is free again


def test_pictures_that_cannot_be_shown(llava: Path, tmp_path: Path) -> None:
    chat = Chat.load(llava, device="cpu", precision="fp32")
    (tmp_path / "no.jpg").write_text("<html>")
    problems = {"no.jpg": "no picture that decodes", "gone.jpg": "cannot be read", "": "cannot be read"}
    for name, problem in problems.items():
        with pytest.raises(CaptionlakeError, match=problem):
            chat.ask("What?", image=tmp_path / name)


def test_a_conversation_that_is_too_long(llava: Path) -> None:
    chat = Chat.load(llava, max_tokens=4, device="cpu", precision="fp32")
    with pytest.raises(CaptionlakeError, match=r"tokens long, and the model reads 4,096: start over \(/reset\)"):
        chat.ask("word " * 5000)
    assert chat.ask("word")  # nothing was said


def test_a_failure_in_the_model_is_raised_here(llava: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from transformers import LlavaForConditionalGeneration

    chat = Chat.load(llava, max_tokens=4, device="cpu", precision="fp32")
    generate = LlavaForConditionalGeneration.generate
    for error, problem in (
        (torch.OutOfMemoryError("CUDA out of memory"), "no memory on cpu"),
        (ValueError("a defect"), "a defect"),
    ):

        def fails(self: Any, error: Exception = error, **_: Any) -> None:
            raise error

        monkeypatch.setattr(LlavaForConditionalGeneration, "generate", fails)
        with pytest.raises((CaptionlakeError, ValueError), match=problem):
            chat.ask("What?")
    monkeypatch.setattr(LlavaForConditionalGeneration, "generate", generate)
    assert chat.ask("What?")


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "captionlake", "chat", *arguments, "--device", "cpu", "--precision", "fp32"]


def test_questions_through_a_pipe(llava: Path, photographs: Photos, tmp_path: Path) -> None:
    """What the terminal shows holds no control characters; the JSON holds what the Python interface says."""
    photographs["chelsea"].save(tmp_path / "cat.png")
    chat = Chat.load(llava, max_tokens=12, device="cpu", precision="fp32")
    expected = [chat.ask("What is this?", tmp_path / "cat.png"), chat.ask("And why?")]
    call = [str(llava), str(tmp_path / "cat.png"), "--max-tokens", "12", "--device", "cpu", "--precision", "fp32"]
    asked = "What is this?\n\nAnd why?\n"
    done = CliRunner().invoke(chat_command, [*call, "--json"], input=asked)
    rounds = json.loads(done.stdout)["rounds"]
    assert [one["answer"] for one in rounds] == expected and done.stderr == ""
    assert [one["question"] for one in rounds] == ["What is this?", "And why?"]
    shown = CliRunner().invoke(chat_command, call, input=asked).stdout
    assert all(character.isprintable() or character == "\n" for character in shown) and shown.count("\n") >= 2


def test_hostile_words_are_escaped(llava: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stream(self: Chat, question: str, image: Any = None) -> Iterator[str]:
        from captionlake.models.running.chat import Answer

        yield "one\ntwo \x1b[31m"
        yield "\x07\u202e[bold]"
        self.last = Answer("", 1, "stop")

    monkeypatch.setattr(Chat, "stream", stream)
    result = CliRunner().invoke(chat_command, [str(llava), "--question", "?", "--device", "cpu"])
    assert result.output == "one\ntwo \\x1b[31m\\x07\\u202e[bold]\n"
    missing = CliRunner().invoke(chat_command, ["/no/such", "--question", "?"]).exception
    assert isinstance(missing, CaptionlakeError) and str(missing).startswith("no such folder")


class Terminal:
    """A command with a terminal of its own."""

    def __init__(self, arguments: list[str]) -> None:
        self._master, slave = pty.openpty()
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200"}
        self.process = subprocess.Popen(
            arguments, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True, close_fds=True,
            preexec_fn=_take_terminal,
        )  # fmt: skip
        os.close(slave)
        self.seen = ""

    def until(self, pattern: str, again: str = "") -> str:
        """What is shown up to a pattern that was not seen before. ``again`` is typed every 5 s: readline keeps a
        Ctrl-C that comes while it starts until the next key."""
        started = time.monotonic()
        n_typed = 0
        while not (found := re.search(pattern, self.seen)):
            seconds = time.monotonic() - started
            assert seconds < 90 and self.process.poll() is None, self.seen
            if again and seconds > 5 * (n_typed + 1):
                self.type(again)
                n_typed += 1
            if select.select([self._master], [], [], 0.2)[0]:
                try:
                    self.seen += os.read(self._master, 65536).decode(errors="replace")
                except OSError as error:  # the other end is closed
                    raise AssertionError(self.seen) from error
        shown, self.seen = self.seen[: found.end()], self.seen[found.end() :]
        return shown

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def close(self) -> int:
        try:
            return self.process.wait(30)
        finally:
            self.process.kill()
            os.close(self._master)


def _take_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_the_terminal(llava: Path, photographs: Photos, tmp_path: Path) -> None:
    """Several rounds, Ctrl-C within an answer, another picture, a wrong one, starting over."""
    photographs["chelsea"].save(tmp_path / "cat.png")
    terminal = Terminal(command(str(llava), str(tmp_path / "cat.png"), "--max-tokens", "3000"))
    started = terminal.until(r"you.* ")
    assert "random-llava (LlavaForConditionalGeneration) on cpu in fp32" in started and "/image FILE" in started
    terminal.type("What is this?\r")
    terminal.until(r"What is this\?\r\n.{20,}")
    terminal.type("\x03")
    terminal.until(r"\(stopped\)")
    terminal.until(r"you.* ")
    terminal.type("/image /no/such.png\r")
    assert "error: /no/such.png cannot be read" in terminal.until(r"check the path[\s\S]*you.* ")
    terminal.type(f"/image {tmp_path / 'cat.png'}\r")
    terminal.until(r"with the next question[\s\S]*you.* ")
    terminal.type("/reset\r")
    terminal.until(r"forgotten[\s\S]*you.* ")
    terminal.type("/help\r")
    terminal.until(r"/quit ends[\s\S]*you.* ")
    terminal.type("Again?\r")
    terminal.until(r"Again\?\r\n.{20,}")
    terminal.type("\x03")
    terminal.until(r"you.* ")
    time.sleep(1)
    terminal.type("\x03")
    terminal.until(r"/quit ends[\s\S]*you.* ", again="\x03")
    terminal.type("/quit\r")
    assert terminal.close() == 0


def test_json_is_not_for_a_terminal(llava: Path, tmp_path: Path) -> None:
    terminal = Terminal([*command(str(llava)), "--json"])
    terminal.until("--json is for --question, or for questions through a pipe")
    assert terminal.close() == 2


def test_three_lines(
    llava: Path,
    photographs: Photos,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As docs/chat.md has them."""
    page = (Path(__file__).parents[3] / "docs" / "chat.md").read_text()
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "Chat.load" in block]
    assert len([line for line in code.splitlines() if line]) == 3
    (tmp_path / "lines.py").write_text(code)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "lmm").symlink_to(llava)
    photographs["chelsea"].save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    runpy.run_path("lines.py")
    assert capsys.readouterr().out.strip()
