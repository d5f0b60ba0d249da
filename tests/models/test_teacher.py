"""The teacher against a real server: what it captions, keys, counts and refuses to do twice."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.models.captions import rows_to_caption
from captionlake.models.prompts import PromptSet
from captionlake.models.teacher import CaptioningStopped, TeacherConfig, caption, estimate
from captionlake.models.teacher.pace import Pace

from .conftest import Photographed
from .teacher_server import TeacherServer

Teacher = Callable[..., TeacherConfig]
PRICES = '[[model]]\nname = "test-model"\ninput = 1.0\noutput = 10.0\nbatch_discount = 0.5\n'


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    path = tmp_path / "prices.toml"
    path.write_text(PRICES)
    return path


def test_captions_and_where_they_come_from(
    lake: Lake, photographed: Photographed, teacher: Teacher, prices: Path
) -> None:
    rows = photographed(30)
    with TeacherServer() as server:
        run = caption(lake, rows, teacher(server.url, prices=prices, seed=7, temperature=0.5), "sharegpt4v")
        assert (run.rows, run.wanted, run.present, run.captioned, run.left) == (30, 30, 0, 30, 0)
        assert run.failed == {} and run.requests == len(server.seen) == 30
        assert run.input_tokens == 30_000 and run.output_tokens == 3_000
        assert run.cost_usd == pytest.approx(30 * (1000 * 1.0 + 100 * 10.0) / 1e6)
        assert {seen.body["seed"] for seen in server.seen} == {7}
        again = caption(lake, rows, teacher(server.url, prices=prices, seed=7, temperature=0.5), "sharegpt4v")
        assert (again.present, again.captioned, again.requests) == (30, 0, 0) and len(server.seen) == 30
    found = lake.arrow("SELECT * FROM captions").to_pylist()
    assert len(found) == 30 and {row["image_id"] for row in found} == set(rows.column("image_id").to_pylist())
    row = found[0]
    assert row["kind"] == "teacher" and row["producer"] == "openai:test-model"
    assert row["producer_revision"] == "test-model-2024/fp_test"
    assert row["prompt_id"] == "sharegpt4v/natural"
    assert row["prompt_sha256"] == PromptSet.read("sharegpt4v").render({"collection": "coco"}).sha256
    assert row["params"] == '{"detail":"high","max_tokens":1024,"seed":7,"temperature":0.5}'
    assert row["chars"] == len(row["text"]) and row["words"] == 6 and row["source"] is None
    assert (row["input_tokens"], row["output_tokens"], row["finish_reason"]) == (1000, 100, "stop")
    assert row["cost_usd"] == pytest.approx(0.002)
    assert list((lake.path / "spool").glob("*.jsonl")) == []
    (told,) = lake.rows(
        "SELECT counts->>'captioned' FROM runs WHERE step = 'caption' AND (counts->>'captioned')::INT > 0"
    )
    assert told == ("30",)


def test_the_prompt_and_picture_that_are_sent(lake: Lake, photographed: Photographed, teacher: Teacher) -> None:
    rows = photographed(1, collection="web", subset="landmark", meta='{"name": "Old Mill"}')
    with TeacherServer() as server:
        caption(lake, rows, teacher(server.url, detail="low"), "sharegpt4v")
        (seen,) = server.seen
    text, picture = seen.body["messages"][0]["content"]
    assert "data-" in text["text"] and '"Old Mill"' in text["text"]
    assert picture["image_url"]["detail"] == "low"
    assert picture["image_url"]["url"].startswith("data:image/jpeg;base64,")
    assert seen.body["max_tokens"] == 1024 and "seed" not in seen.body and "temperature" not in seen.body


def test_a_key_is_picture_producer_prompt_and_params(lake: Lake, photographed: Photographed, teacher: Teacher) -> None:
    rows = photographed(3)
    with TeacherServer() as server:
        for changes in ({}, {"producer": "other"}, {"max_tokens": 500}, {"detail": "low"}):
            assert caption(lake, rows, teacher(server.url, **changes), "sharegpt4v").captioned == 3
            assert caption(lake, rows, teacher(server.url, **changes), "sharegpt4v").captioned == 0
        # what does not change a reply is no part of the key
        changed = teacher(server.url, max_concurrency=2, timeout_s=9.0)
        assert caption(lake, rows, changed, "sharegpt4v").captioned == 0
    assert lake.value("SELECT count(DISTINCT caption_id) FROM captions") == 12


def test_redo_makes_new_ones_beside_the_old(lake: Lake, photographed: Photographed, teacher: Teacher) -> None:
    rows = photographed(5)
    with TeacherServer() as server:
        caption(lake, rows, teacher(server.url), "sharegpt4v")
        for _ in range(2):
            assert caption(lake, rows, teacher(server.url), "sharegpt4v", redo=True).captioned == 5
        assert caption(lake, rows, teacher(server.url), "sharegpt4v").captioned == 0
    assert lake.value("SELECT count(*) FROM captions") == 15
    assert lake.value("SELECT count(DISTINCT params->>'redo') FROM captions") == 2


def test_redo_that_was_stopped_goes_on(lake: Lake, photographed: Photographed, teacher: Teacher) -> None:
    rows = photographed(20)
    config = teacher
    with TeacherServer(fault=lambda number, _: "401" if number >= 8 else None) as server:
        with pytest.raises(CaptioningStopped):
            caption(lake, rows, config(server.url, max_concurrency=1), "sharegpt4v", redo=True)
        server.fault = lambda number, _: None
        assert caption(lake, rows, config(server.url), "sharegpt4v", redo=True).captioned == 12
    assert lake.value("SELECT count(*) FROM captions") == 20


def test_rows_of_one_picture_are_asked_for_once(lake: Lake, photographed: Photographed, teacher: Teacher) -> None:
    rows = photographed(4)
    with TeacherServer() as server:
        run = caption(lake, pa.concat_tables([rows, rows]), teacher(server.url), "sharegpt4v")
        assert (run.rows, run.wanted, run.captioned) == (8, 4, 4) and len(server.seen) == 4


def test_rows_may_be_an_iterator_without_places(lake: Lake, photographed: Photographed, teacher: Teacher) -> None:
    rows = photographed(12).select(["image_id", "collection"])
    with TeacherServer() as server:
        run = caption(lake, iter(rows.to_pylist()), teacher(server.url), "sharegpt4v")
    assert (run.rows, run.captioned) == (12, 12)
    with TeacherServer() as server, pytest.raises(CaptionlakeError, match="no column 'collection'"):
        caption(lake, rows.select(["image_id"]), teacher(server.url), "sharegpt4v")


def test_a_picture_that_is_damaged_or_absent(lake: Lake, photographed: Photographed, teacher: Teacher) -> None:
    rows = photographed(6).to_pylist()
    rows.append({"image_id": "0" * 64, "collection": "coco"})
    with (lake.path / "images" / rows[2]["shard"]).open("r+b") as file:
        file.seek(rows[2]["offset"])
        file.write(b"\0" * 64)
    with TeacherServer() as server:
        run = caption(lake, rows, teacher(server.url), "sharegpt4v")
    assert run.captioned == 5 and run.failed == {"bad_picture": 2}
    assert any("restore the shard" in said for said in run.failures)


def test_texts_of_the_source_reach_the_prompt(lake: Lake, photographed: Photographed, teacher: Teacher) -> None:
    (row,) = photographed(1, collection="lcs-like", author="A. Body").to_pylist()
    texts = [("human", "Seen by a person", 0), ("alt", "second", 1), ("alt", "first alt", 0)]
    lines = [
        {
            "caption_id": text,
            "image_id": row["image_id"],
            "source": row["source"],
            "source_key": row["source_key"],
            "kind": kind,
            "producer": "source",
            "text": text,
            "chars": 1,
            "words": 1,
            "params": f'{{"ordinal": {ordinal}}}',
            "created_at": datetime.now(UTC),
        }
        for kind, text, ordinal in texts
    ]
    lake.append("captions", pa.Table.from_pylist(lines), ["caption_id"])
    (found,) = rows_to_caption(lake).to_pylist()
    assert (found["alt_text"], found["caption"], found["author"]) == ("first alt", "Seen by a person", "A. Body")
    none = pa.table({"source": pa.array([], pa.string()), "source_key": pa.array([], pa.string())})
    assert rows_to_caption(lake, none).num_rows == 0
    with TeacherServer() as server:
        caption(lake, rows_to_caption(lake), teacher(server.url), "sharegpt4v")
        assert '"first alt".' in server.seen[0].body["messages"][0]["content"][0]["text"]


def test_estimate_before_and_after(lake: Lake, photographed: Photographed, teacher: Teacher, prices: Path) -> None:
    rows = photographed(10)
    with TeacherServer() as server:
        config = teacher(server.url, prices=prices)
        before = estimate(lake, rows, config, "sharegpt4v")
        prompt = PromptSet.read("sharegpt4v").render({"collection": "coco"}).text
        assert (before.pending, before.known, before.output_tokens) == (10, 0, 10 * 512)
        assert before.input_tokens == 10 * (85 + 170 + len(prompt) // 4)  # a tile of 64 x 64 is one of 512 x 512
        assert before.cost_usd == pytest.approx((before.input_tokens + 10 * before.output_tokens) / 1e6)
        caption(lake, rows.slice(0, 4), config, "sharegpt4v")
        after = estimate(lake, rows, config, "sharegpt4v")
        assert (after.pending, after.known, after.output_tokens) == (6, 4, 600)
        assert after.spent_usd == pytest.approx(4 * 0.002)
    assert estimate(lake, rows, TeacherConfig(model="unknown"), "sharegpt4v").cost_usd is None


def test_requests_in_flight_grow_to_the_limit_and_no_further(
    lake: Lake, photographed: Photographed, teacher: Teacher
) -> None:
    rows = photographed(200)
    with TeacherServer(latency=0.4) as server:
        run = caption(lake, rows, teacher(server.url, max_concurrency=30), "sharegpt4v")
        assert 25 <= server.highest <= 30 and run.in_flight == 30


def test_an_endpoint_that_takes_few_at_a_time(lake: Lake, photographed: Photographed, teacher: Teacher) -> None:
    rows = photographed(120)
    with TeacherServer(latency=0.02, capacity=6) as server:
        run = caption(lake, rows, teacher(server.url, max_concurrency=64, max_attempts=20), "sharegpt4v")
        assert run.captioned == 120 and run.failed == {}
        late = [seen.fault for seen in server.seen[-60:]]
        assert late.count("429") < 30  # it has learned
        assert max(server.paid().values()) == 1


def test_limits_a_minute(
    lake: Lake, photographed: Photographed, teacher: Teacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the times at which requests are let go: on a busy machine a server may see the first of them late."""
    rows, times, take = photographed(20), list[float](), Pace.take

    async def noted(self: Pace, tokens: int) -> float:
        taken = await take(self, tokens)
        times.append(time.monotonic())
        return taken

    monkeypatch.setattr(Pace, "take", noted)
    with TeacherServer() as server:
        caption(lake, rows, teacher(server.url, requests_per_minute=600), "sharegpt4v")
        assert len(times) == 20 and times[-1] - times[0] >= 0.9  # ten a second, ten of them at once
        times.clear()
        caption(lake, rows, teacher(server.url, max_tokens=900, tokens_per_minute=240_000), "sharegpt4v")
        # 4,000 tokens a second; each request takes up to 1,800 with its picture and prompt
        assert len(times) == 20 and times[-1] - times[0] >= 6.0


def test_only_one_process_asks(lake: Lake, photographed: Photographed, teacher: Teacher) -> None:
    from captionlake.models.teacher.spool import spool_lock

    rows = photographed(1)
    with spool_lock(lake.path / "spool", "openai:test-model"), TeacherServer() as server:
        with pytest.raises(CaptionlakeError, match="another process is asking"):
            caption(lake, rows, teacher(server.url), "sharegpt4v")
        assert caption(lake, rows, teacher(server.url, producer="mine"), "sharegpt4v").captioned == 1


def test_inside_an_event_loop(lake: Lake, photographed: Photographed, teacher: Teacher) -> None:
    import asyncio

    rows = photographed(2)

    async def notebook(url: str) -> int:
        return caption(lake, rows, teacher(url), "sharegpt4v").captioned

    with TeacherServer() as server:
        assert asyncio.run(notebook(server.url)) == 2
