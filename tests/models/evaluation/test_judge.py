"""The judge, over HTTP: asked once, kept, counted apart where it says nothing that can be read, within its budget."""

from collections.abc import Callable
from pathlib import Path

import pytest

from captionlake.errors import CaptionlakeError
from captionlake.models.evaluation import judge_config
from captionlake.models.evaluation.answering import kept_lines
from captionlake.models.evaluation.benchmark import Item
from captionlake.models.evaluation.judge import Judge, Judged
from captionlake.models.evaluation.mm_vet import judge as mm_vet_judge

from .judge_server import JudgeServer, Told

PRICES = '[[model]]\nname = "judge-1"\ninput = 1000.0\noutput = 1000.0\n'  # a dollar and a cent a judgement


def items(count: int) -> list[tuple[Item, str]]:
    def one(number: int) -> Item:
        return Item(id=f"v1_{number}", text="?", picture="", answer=f"key {number}", unit="", question="What?")

    return [(one(number), f"answer {number}") for number in range(count)]


def ask(url: str, path: Path, answered: list[tuple[Item, str]], **settings: object) -> Judged:
    config = judge_config("judge-1", url=url, **{"max_attempts": 3, **settings})
    with kept_lines(path / "judgements.jsonl") as kept:
        return Judge(config).judge(answered, mm_vet_judge(), kept, lambda _: None)


def told_number(body: Told) -> str:
    content: str = body["messages"][1]["content"]
    return content.partition("answer ")[2] and content.rpartition("key ")[2].split()[0]


def test_each_answer_is_judged_and_asked_for_once(tmp_path: Path) -> None:
    with JudgeServer(lambda number, body: f"0.{told_number(body)}") as server:
        judged = ask(server.url, tmp_path, items(5))
        assert judged.replies == {f"v1_{number}": f"0.{number}" for number in range(5)}
        assert judged.failed == {}
        body = server.seen[0]
        assert (body["model"], body["temperature"], body["max_tokens"]) == ("judge-1", 0.0, 512)
        again = ask(server.url, tmp_path, items(6))
        assert len(server.seen) == 6 and again.asked == 1
        assert again.replies == judged.replies | {"v1_5": "0.5"}
        ask(server.url, tmp_path, items(1), temperature=0.5)
        assert len(server.seen) == 7  # another way of judging is another judgement


def test_a_torn_line_is_asked_for_again(tmp_path: Path) -> None:
    with JudgeServer(lambda number, body: "0.5") as server:
        ask(server.url, tmp_path, items(2))
        path = tmp_path / "judgements.jsonl"
        path.write_bytes(path.read_bytes()[:-9])
        assert ask(server.url, tmp_path, items(2)).asked == 1
        assert len(path.read_bytes().splitlines()) == 2


def test_faults_are_tried_again_and_refusals_counted(tmp_path: Path) -> None:
    def reply(number: int, body: Told) -> str | tuple[int, str]:
        if number == 0:
            return 500, "The server had an error"
        if told_number(body) == "1":
            return 400, "rejected: content_policy_violation"
        return "1.0"

    with JudgeServer(reply) as server:
        judged = ask(server.url, tmp_path, items(3), max_concurrency=1)
        assert set(judged.replies) == {"v1_0", "v1_2"}
        assert judged.failed["v1_1"].startswith("content_filter")
        assert len(server.seen) == 4


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (lambda number, body: (401, "Incorrect API key"), "refuses"),
        (lambda number, body: (404, "no such model"), "has no model judge-1"),
    ],
)
def test_what_no_request_can_mend_ends_the_run(
    tmp_path: Path, reply: Callable[[int, Told], str | tuple[int, str]], said: str
) -> None:
    with JudgeServer(reply) as server, pytest.raises(CaptionlakeError, match=said):
        ask(server.url, tmp_path, items(3))


def test_no_endpoint_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CaptionlakeError, match="no endpoint answers"):
        ask("http://127.0.0.1:9/v1", tmp_path, items(1), max_attempts=1)


def test_the_budget_holds_over_runs(tmp_path: Path) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text(PRICES)
    settings: dict[str, object] = {"prices": prices, "max_cost_usd": 8.0, "max_concurrency": 1, "max_tokens": 16}
    with JudgeServer(lambda number, body: "0.5") as server:
        for _ in range(2):
            with pytest.raises(CaptionlakeError, match="8 US dollars, is reached"):
                ask(server.url, tmp_path, items(20), **settings)
        assert 1 <= len(server.seen) <= 7
        seen = len(server.seen)
        judged = ask(server.url, tmp_path, items(20), **settings | {"max_cost_usd": 100.0})
        assert len(judged.replies) == 20 and len(server.seen) == 20 and judged.asked == 20 - seen


def test_a_budget_without_a_price_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CaptionlakeError, match="no price of judge-1"):
        ask("http://127.0.0.1:9/v1", tmp_path, items(1), max_cost_usd=1.0)
