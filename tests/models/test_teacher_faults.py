"""Every way in which an endpoint fails has its name, is counted, and is repeated, given up or stopped as it should be."""

import io
import logging
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.models.teacher import CaptioningStopped, TeacherConfig, caption
from captionlake.models.teacher.reply import retry_after

from .conftest import Photographed
from .teacher_server import Fault, TeacherServer

Teacher = Callable[..., TeacherConfig]
SECRET = "sk-test-4f9d81c27ab06e35"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("captionlake.models.teacher.pace._BACK_OFF", 0.01)


def first(fault: Fault) -> Callable[[int, str], Fault]:
    """The first three requests fail so, all others do not."""
    return lambda number, _: fault if number < 3 else None


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ("429", "rate_limited"),
        (("429", {"retry-after-ms": "20"}), "rate_limited"),
        ("500", "server_error"),
        ("503", "server_error"),
        ("gateway", "server_error"),
        (("slow", 2.0), "timeout"),
        ("half", "half_reply"),
        ("cut", "half_reply"),
        ("invalid_json", "invalid_reply"),
        ("html", "invalid_reply"),
        ("no_choices", "invalid_reply"),
    ],
)
def test_faults_that_pass(lake: Lake, photographed: Photographed, teacher: Teacher, fault: Fault, outcome: str) -> None:
    rows = photographed(10)
    with TeacherServer(fault=first(fault)) as server:
        run = caption(lake, rows, teacher(server.url, timeout_s=0.7 if outcome == "timeout" else 60), "sharegpt4v")
        assert run.captioned == 10 and run.failed == {} and run.attempts == {outcome: 3}
        assert run.requests == len(server.seen) == 13 and set(server.paid().values()) == {1}


@pytest.mark.parametrize(
    ("fault", "outcome", "asked"),
    [
        ("policy", "content_filter", 1),
        ("content_filter", "content_filter", 1),
        ("refusal", "refused", 1),
        ("context", "context_length", 1),
        ("bad_picture", "bad_picture", 1),
        ("bad_request", "bad_request", 1),
        ("empty", "empty", 2),
        ("500", "server_error", 3),
    ],
)
def test_faults_of_one_picture(
    lake: Lake, photographed: Photographed, teacher: Teacher, fault: str, outcome: str, asked: int
) -> None:
    rows = photographed(6)
    with TeacherServer() as server:
        caption(lake, rows.slice(0, 1), teacher(server.url, producer="other"), "sharegpt4v")
        bad = server.seen[0].picture
        server.seen.clear()
        server.fault = lambda _, picture: fault if picture == bad else None
        run = caption(lake, rows, teacher(server.url, max_attempts=3), "sharegpt4v")
        assert run.captioned == 5 and run.failed == {outcome: 1} and run.left == 0
        assert server.asked()[bad] == asked
        assert run.failures[0].startswith(f"{rows.column('image_id')[0]}: {outcome}: ")
        server.fault = lambda _, picture: None
        assert caption(lake, rows, teacher(server.url), "sharegpt4v").captioned == 1  # the next run asks again


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("401", "refuses the key in TEACHER_KEY"),
        ("403", "refuses the key in TEACHER_KEY"),
        ("404", "has no model test-model"),
        ("quota", "the account has no credit"),
        ("no_images", "the model test-model at http://127.0.0.1:.* takes no images"),
    ],
)
def test_faults_that_stop_the_run(
    lake: Lake,
    photographed: Photographed,
    teacher: Teacher,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    said: str,
) -> None:
    monkeypatch.setenv("TEACHER_KEY", SECRET)
    rows = photographed(60)
    with TeacherServer(fault=lambda number, _: fault if number >= 10 else None) as server:
        with pytest.raises(CaptioningStopped, match=said) as caught:
            caption(lake, rows, teacher(server.url, api_key_env="TEACHER_KEY", max_concurrency=4), "sharegpt4v")
        assert len(server.seen) <= 10 + 4 and "\n" not in str(caught.value)
        run = caught.value.run
        assert run.captioned == 10 and run.left == 50
        assert lake.value("SELECT count(*) FROM captions") == 10
        assert SECRET not in str(caught.value)
        server.fault = lambda number, _: None
        assert caption(lake, rows, teacher(server.url), "sharegpt4v").captioned == 50


def test_requests_that_are_all_refused_end_soon(lake: Lake, photographed: Photographed, teacher: Teacher) -> None:
    rows = photographed(200)
    with TeacherServer(fault=lambda number, _: "bad_request") as server:
        with pytest.raises(CaptioningStopped, match=r"refuses every request .*Unknown parameter"):
            caption(lake, rows, teacher(server.url, max_concurrency=4), "sharegpt4v")
        assert len(server.seen) < 30


def test_nobody_listens(lake: Lake, photographed: Photographed, teacher: Teacher) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    started = time.monotonic()
    with pytest.raises(CaptioningStopped, match=f"no endpoint answers at {url}"):
        caption(lake, photographed(20), teacher(url), "sharegpt4v")
    assert time.monotonic() - started < 10


def test_an_answer_that_was_cut_at_max_tokens_is_kept(lake: Lake, photographed: Photographed, teacher: Teacher) -> None:
    with TeacherServer(fault=lambda number, _: "length") as server:
        assert caption(lake, photographed(2), teacher(server.url), "sharegpt4v").captioned == 2
    assert lake.rows("SELECT DISTINCT finish_reason FROM captions") == [("length",)]


def test_retry_after_holds_all(lake: Lake, photographed: Photographed, teacher: Teacher) -> None:
    rows = photographed(6)
    fault: Fault = ("429", {"retry-after": "1"})
    with TeacherServer(fault=lambda number, _: fault if number == 0 else None) as server:
        caption(lake, rows, teacher(server.url, max_concurrency=1), "sharegpt4v")
        times = [seen.at for seen in server.seen]
    assert 0.95 <= times[1] - times[0] <= 3.0


def test_retry_after_as_the_header_has_it() -> None:
    assert retry_after({"retry-after": "2"}) == 2.0
    assert retry_after({"retry-after-ms": "250", "retry-after": "9"}) == 0.25
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0
    assert 0 < (retry_after({"retry-after": "Wed, 21 Oct 2099 07:28:00 GMT"}) or 0) <= 3600
    assert retry_after({"retry-after": "soon"}) is None and retry_after({}) is None
    assert retry_after({"retry-after": "nan"}) is None and retry_after({"retry-after": "-3"}) == 0.0


def test_hostile_texts(lake: Lake, photographed: Photographed, teacher: Teacher) -> None:
    text = "a\x00b \ud800 \U0001f600 '; DROP TABLE captions; --"
    with TeacherServer(fault=lambda number, _: ("text", text)) as server:
        caption(lake, photographed(1), teacher(server.url), "sharegpt4v")
    assert lake.value("SELECT text FROM captions") == "ab ? \U0001f600 '; DROP TABLE captions; --"


def test_no_usage_no_cost(lake: Lake, photographed: Photographed, teacher: Teacher, tmp_path: Path) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text('[[model]]\nname = "test-model"\ninput = 1.0\noutput = 10.0\n')
    with TeacherServer(usage=None) as server:
        run = caption(lake, photographed(2), teacher(server.url, prices=prices), "sharegpt4v")
    assert lake.rows("SELECT DISTINCT input_tokens, cost_usd FROM captions") == [(None, None)]
    assert run.cost_usd == 0 and run.lost_usd > 0  # counted at the most that it can have been


# Keys


def test_the_key_is_nowhere(
    lake: Lake,
    photographed: Photographed,
    teacher: Teacher,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A server that sends it back in a caption, in its name and in an error."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("TEACHER_KEY", SECRET)
    rows = photographed(6)
    faults: list[Fault] = ["echo", "echo", "echo", "401"]
    with TeacherServer(fault=lambda number, _: faults[number]) as server:
        with pytest.raises(CaptioningStopped) as caught:
            caption(lake, rows, teacher(server.url, api_key_env="TEACHER_KEY", max_concurrency=1), "sharegpt4v")
        assert {seen.authorization for seen in server.seen} == {SECRET}
    said = [str(caught.value), repr(caught.value.run), caplog.text, *capfd.readouterr()]
    error: BaseException | None = caught.value
    while error is not None:
        said.append(repr(error))
        error = error.__cause__ or error.__context__
    assert not [text for text in said if SECRET in text]
    assert lake.value("SELECT count(*) FROM captions WHERE contains(text, '***')") == 3
    lake.close()
    for file in lake.path.rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file


def test_a_key_that_is_missing_is_named(
    lake: Lake, photographed: Photographed, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = photographed(1)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "MY_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(CaptionlakeError, match="set the environment variable OPENAI_API_KEY"):
        caption(lake, rows, TeacherConfig(model="gpt-4o"), "sharegpt4v")
    with pytest.raises(CaptionlakeError, match="set the environment variable MY_KEY"):
        caption(lake, rows, TeacherConfig(model="gpt-4o", api_key_env="MY_KEY"), "sharegpt4v")
    monkeypatch.setenv("MY_KEY", "two\nlines")
    with pytest.raises(CaptionlakeError, match="the value of MY_KEY is no key") as caught:
        caption(lake, rows, TeacherConfig(model="gpt-4o", api_key_env="MY_KEY"), "sharegpt4v")
    assert "two" not in str(caught.value)


def test_openais_key_goes_to_no_one_else(
    lake: Lake, photographed: Photographed, teacher: Teacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    rows = photographed(1)
    with pytest.raises(CaptionlakeError, match="is not OpenAI's: name the environment variable"):
        caption(lake, rows, teacher("https://api.openai.com.evil.example/v1"), "sharegpt4v")
    with TeacherServer() as server:
        caption(lake, rows, teacher(server.url), "sharegpt4v")
        assert server.seen[0].authorization == "no-key"


def test_an_address_with_a_password_is_refused() -> None:
    with pytest.raises(ValueError, match="a key belongs in the variable"):
        TeacherConfig(model="m", base_url="https://user:secret@example.com/v1")
    with pytest.raises(ValueError, match="no http or https address"):
        TeacherConfig(model="m", base_url="example.com/v1")


# The disk


def test_a_spool_that_cannot_be_written_stops_the_run(
    lake: Lake, photographed: Photographed, teacher: Teacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file-size limit of the process stands in for a full disk: the write fails part of the way."""
    import resource
    import signal

    rows = photographed(40)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def limit(number: int, _: str) -> Fault:
        if number == 0:
            resource.setrlimit(resource.RLIMIT_FSIZE, (3000, before[1]))
        return None

    try:
        with TeacherServer(fault=limit) as server, pytest.raises(CaptionlakeError) as caught:
            caption(lake, rows, teacher(server.url, max_concurrency=2), "sharegpt4v")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert "make room" in str(caught.value)
    asked = len(server.seen)
    assert asked < 15
    with TeacherServer() as server:  # the whole lines count, the torn one is asked for again
        run = caption(lake, rows, teacher(server.url), "sharegpt4v")
        assert run.recovered >= 4 and run.captioned == 40 - run.recovered
    assert (
        lake.value("SELECT count(DISTINCT image_id) FROM captions") == lake.value("SELECT count(*) FROM captions") == 40
    )


def test_pictures_of_all_forms_are_sent(lake: Lake, photographed: Photographed, teacher: Teacher) -> None:
    pictures = []
    for form, mode in (
        ("GIF", "P"),
        ("BMP", "RGB"),
        ("TIFF", "CMYK"),
        ("PNG", "RGBA"),
        ("PNG", "I;16"),
        ("WEBP", "RGB"),
    ):
        buffer = io.BytesIO()
        Image.new(mode, (40, 30)).save(buffer, form)
        pictures.append(buffer.getvalue())
    rows = photographed(0, pictures=pictures)
    with TeacherServer() as server:
        run = caption(lake, rows, teacher(server.url), "sharegpt4v")
        assert run.captioned == 6 and run.failed == {}
        kinds = {seen.body["messages"][0]["content"][1]["image_url"]["url"].split(";")[0] for seen in server.seen}
    assert kinds == {"data:image/jpeg", "data:image/png", "data:image/webp"}
    assert os.listdir(lake.path / "spool") and not list((lake.path / "spool").glob("*.jsonl"))
