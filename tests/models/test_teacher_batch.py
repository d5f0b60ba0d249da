"""The Batch API as a mode: files out, replies in, nothing paid twice whatever happens between."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.models.teacher import CaptioningStopped, TeacherConfig, caption
from captionlake.models.teacher.batch_state import my_batches

from .conftest import Photographed
from .teacher_server import TeacherServer

Teacher = Callable[..., TeacherConfig]
BATCH: dict[str, Any] = {"mode": "batch", "batch_poll_s": 0.05}


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    path = tmp_path / "prices.toml"
    path.write_text('[[model]]\nname = "test-model"\ninput = 1.0\noutput = 10.0\nbatch_discount = 0.5\n')
    return path


def test_submitted_waited_for_and_collected(
    lake: Lake, photographed: Photographed, teacher: Teacher, prices: Path
) -> None:
    rows = photographed(25)
    with TeacherServer(batch_seconds=0.2) as server:
        run = caption(lake, rows, teacher(server.url, prices=prices, **BATCH), "sharegpt4v")
        assert (run.captioned, run.left, run.waiting, run.failed) == (25, 0, 0, {})
        assert run.cost_usd == pytest.approx(25 * 0.001)  # half of the live price
        assert len(server.batches) == 1 and server.calls["POST batches"] == 1
        again = caption(lake, rows, teacher(server.url, prices=prices, **BATCH), "sharegpt4v")
        assert again.present == 25 and len(server.batches) == 1
        live = caption(lake, rows, teacher(server.url, prices=prices), "sharegpt4v")
        assert live.captioned == 0  # the same key: how it was asked is no part of it
    assert lake.value("SELECT sum(cost_usd) FROM captions") == pytest.approx(0.025)
    assert not list((lake.path / "spool").glob("batch-*"))


def test_days_later(lake: Lake, photographed: Photographed, teacher: Teacher) -> None:
    rows = photographed(10)
    with TeacherServer(batch_seconds=1e6) as server:
        config = teacher(server.url, batch_wait_s=0.0, **BATCH)
        run = caption(lake, rows, config, "sharegpt4v")
        assert (run.captioned, run.waiting, run.left) == (0, 10, 0)
        run = caption(lake, rows, config, "sharegpt4v")
        assert run.waiting == 10 and len(server.batches) == 1
        live = caption(lake, rows, teacher(server.url), "sharegpt4v")
        assert (live.captioned, live.waiting, live.requests) == (0, 10, 0)  # they are on their way
        for batch in server.batches.values():
            batch["due"] = 0.0
        run = caption(lake, rows, config, "sharegpt4v")
        assert (run.captioned, run.waiting, run.left) == (10, 0, 0)
    assert set(server.paid().values()) == {1}


def test_a_redo_days_later(lake: Lake, photographed: Photographed, teacher: Teacher) -> None:
    rows = photographed(4)
    with TeacherServer() as server:
        caption(lake, rows, teacher(server.url), "sharegpt4v")
        server.batch_seconds = 1e6
        config = teacher(server.url, batch_wait_s=0.0, **BATCH)
        for _ in range(2):
            assert caption(lake, rows, config, "sharegpt4v", redo=True).waiting == 4
        server.batches["batch_0"]["due"] = 0.0
        assert caption(lake, rows, config, "sharegpt4v", redo=True).captioned == 4
        assert len(server.batches) == 1 and lake.value("SELECT count(*) FROM captions") == 8


def test_replies_with_faults(lake: Lake, photographed: Photographed, teacher: Teacher) -> None:
    faults = {1: "policy", 2: "empty", 3: "500", 4: "expired", 5: "missing", 6: "length", 7: "invalid_line"}
    rows = photographed(12)
    faults.pop(7)
    with TeacherServer(batch_fault=lambda number, _: faults.get(number)) as server:
        run = caption(lake, rows, teacher(server.url, **BATCH), "sharegpt4v")
        assert run.captioned == 7 and run.left == 0
        assert run.failed == {"content_filter": 1, "empty": 1, "server_error": 1, "expired": 2}
        server.batch_fault = lambda number, _: None
        again = caption(lake, rows, teacher(server.url, **BATCH), "sharegpt4v")
        assert again.captioned == 5 and lake.value("SELECT count(*) FROM captions") == 12


def test_a_batch_that_the_endpoint_refuses(lake: Lake, photographed: Photographed, teacher: Teacher) -> None:
    rows = photographed(3)
    with TeacherServer(batch_seconds=1e6) as server:
        config = teacher(server.url, batch_wait_s=0.0, **BATCH)
        caption(lake, rows, config, "sharegpt4v")
        batch = server.batches["batch_0"]
        batch |= {
            "status": "failed",
            "errors": {"object": "list", "data": [{"code": "x", "message": "Enqueued token limit"}]},
        }
        with pytest.raises(CaptioningStopped, match=r"refused batch batch_0 .*Enqueued token limit"):
            caption(lake, rows, config, "sharegpt4v")
        assert my_batches(lake, "openai:test-model") == []
        server.batch_seconds = 0.0
        assert caption(lake, rows, teacher(server.url, **BATCH), "sharegpt4v").captioned == 3


def test_several_files_when_one_would_be_too_large(
    lake: Lake, photographed: Photographed, teacher: Teacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("captionlake.models.teacher.batches.MAX_REQUESTS", 4)
    with TeacherServer() as server:
        run = caption(lake, photographed(10), teacher(server.url, **BATCH), "sharegpt4v")
        assert run.captioned == 10 and len(server.batches) == 3
    monkeypatch.setattr("captionlake.models.teacher.batches.MAX_BYTES", 10_000)
    with TeacherServer() as server:
        config = teacher(server.url, producer="again", **BATCH)
        assert caption(lake, rows_of(lake), config, "sharegpt4v").captioned == 10
        inputs = [server.files[batch["input_file_id"]] for batch in server.batches.values()]
        assert len(inputs) > 3 and max(map(len, inputs)) <= 10_000
        asked = [json.loads(line) for data in inputs for line in data.splitlines()]
        assert len({line["custom_id"] for line in asked}) == 10
        assert {line["url"] for line in asked} == {"/v1/chat/completions"}


def rows_of(lake: Lake) -> Any:
    from captionlake.models.captions import rows_to_caption

    return rows_to_caption(lake)


def test_the_budget_of_batches(lake: Lake, photographed: Photographed, teacher: Teacher, prices: Path) -> None:
    rows = photographed(40)
    with TeacherServer() as server:
        config = teacher(server.url, prices=prices, max_cost_usd=0.03, **BATCH)
        with pytest.raises(CaptioningStopped, match=r"max_cost_usd of 0\.03 is reached") as caught:
            caption(lake, rows, config, "sharegpt4v")
        assert len(server.batches) > 1  # what a batch did not cost is spent on the next
    cost = lake.value("SELECT sum(cost_usd) FROM captions")
    assert 0.03 - 0.007 <= cost <= 0.03 and caught.value.run.left == 40 - caught.value.run.captioned


MOMENTS = ["files.create", "batches.create", "after files", "after batches", "retrieve", "content", "commit"]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_that_ends_anywhere_pays_once(
    lake: Lake, photographed: Photographed, teacher: Teacher, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Ended as by a kill: at that moment an exception leaves all that is on the disk as it is."""
    from captionlake.models.teacher import batch_state
    from captionlake.models.teacher import batches as module

    rows = photographed(6)
    ended = []

    def end(*_: Any, **__: Any) -> Any:
        ended.append(moment)
        raise CaptionlakeError("killed here")

    with TeacherServer() as server, monkeypatch.context() as patch:
        if moment == "commit":
            patch.setattr(module, "commit_lines", end)
        elif moment.startswith("after"):
            wanted = "uploaded" if moment == "after files" else "submitted"
            noted = batch_state.note

            def note(lake: Lake, batch: Any, **changes: Any) -> Any:
                return end() if changes.get("state") == wanted else noted(lake, batch, **changes)

            patch.setattr(module, "note", note)
        else:
            from openai.resources.batches import AsyncBatches
            from openai.resources.files import AsyncFiles

            at: Any = AsyncFiles if moment == "files.create" else AsyncBatches
            if moment == "content":
                patch.setattr(module.Batches, "_download", end)
            else:
                patch.setattr(at, moment.split(".")[-1], end)
        with pytest.raises(CaptionlakeError, match="killed here"):
            caption(lake, rows, teacher(server.url, **BATCH), "sharegpt4v")
        assert ended
        patch.undo()
        run = caption(lake, rows, teacher(server.url, **BATCH), "sharegpt4v")
        assert run.captioned == 6 and len(server.batches) == 1
        assert lake.value("SELECT count(*) FROM captions") == 6
    assert not list((lake.path / "spool").glob("batch-*"))
