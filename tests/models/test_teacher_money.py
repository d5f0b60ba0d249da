"""Money: the price table, the limit that no run passes, and what a stop says."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.models.teacher import CaptioningStopped, TeacherConfig, caption
from captionlake.models.teacher.budget import Budget, BudgetReached
from captionlake.models.teacher.outcome import Usage
from captionlake.models.teacher.prices import Price, price_of

from .conftest import Photographed
from .teacher_server import TeacherServer

Teacher = Callable[..., TeacherConfig]


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    path = tmp_path / "prices.toml"
    path.write_text('[[model]]\nname = "test-model"\ninput = 1.0\noutput = 10.0\nbatch_discount = 0.5\n')
    return path


def test_the_budget_is_kept_and_told(lake: Lake, photographed: Photographed, teacher: Teacher, prices: Path) -> None:
    rows = photographed(60)
    config: dict[str, Any] = {"prices": prices, "max_cost_usd": 0.05}
    with TeacherServer(latency=0.01) as server:
        with pytest.raises(CaptioningStopped, match=r"max_cost_usd of 0\.05 is reached") as caught:
            caption(lake, rows, teacher(server.url, **config), "sharegpt4v")
        run = caught.value.run
        cost = lake.value("SELECT sum(cost_usd) FROM captions")
        # Each caption costs 0.002; the most that a request can cost is some 0.012.
        assert 0.05 - 0.014 <= cost <= 0.05 and run.cost_usd == pytest.approx(cost)
        assert run.captioned == len(server.seen) == lake.value("SELECT count(*) FROM captions")
        assert run.left == 60 - run.captioned
        assert f"{run.left} captions are left, which would cost about {run.left * 0.002:.2f}" in str(caught.value)
        with pytest.raises(CaptioningStopped):  # what is there counts
            caption(lake, rows, teacher(server.url, **config), "sharegpt4v")
        assert len(server.seen) == run.captioned
        done = caption(lake, rows, teacher(server.url, prices=prices, max_cost_usd=0.2), "sharegpt4v")
        assert done.left == 0 and lake.value("SELECT sum(cost_usd) FROM captions") == pytest.approx(0.12)


def test_replies_that_never_came_count_in_full(
    lake: Lake, photographed: Photographed, teacher: Teacher, prices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("captionlake.models.teacher.pace._BACK_OFF", 0.01)
    rows = photographed(10)
    with (
        TeacherServer(fault=lambda number, _: "half") as server,
        pytest.raises(CaptioningStopped, match="max_cost_usd") as caught,
    ):
        caption(lake, rows, teacher(server.url, prices=prices, max_cost_usd=0.04), "sharegpt4v")
    assert 0.025 < caught.value.run.lost_usd <= 0.04 and caught.value.run.cost_usd == 0
    assert len(server.seen) <= 4


def test_a_budget_without_a_price_is_refused(lake: Lake, photographed: Photographed, teacher: Teacher) -> None:
    rows = photographed(2)
    with TeacherServer() as server:
        with pytest.raises(CaptionlakeError, match=r'no price of test-model is known.*`price = "free"`'):
            caption(lake, rows, teacher(server.url, max_cost_usd=1.0), "sharegpt4v")
        assert server.seen == []
        run = caption(lake, rows, teacher(server.url, max_cost_usd=1.0, price="free"), "sharegpt4v")
        assert run.captioned == 2 and run.cost_usd == 0.0
        assert lake.rows("SELECT DISTINCT cost_usd FROM captions") == [(0.0,)]
        unknown = caption(lake, rows, teacher(server.url, producer="unpriced"), "sharegpt4v")
        assert unknown.cost_usd is None
    assert lake.rows("SELECT DISTINCT cost_usd FROM captions WHERE producer = 'unpriced'") == [(None,)]


def test_prices_by_name_and_date() -> None:
    def price(model: str) -> Price | None:
        return price_of(TeacherConfig(model=model))

    gpt4o = price("gpt-4o")
    assert gpt4o is not None and gpt4o == price("gpt-4o-2024-11-20")
    assert gpt4o.cost(Usage(1_000_000, 100_000)) == pytest.approx(2.5 + 1.0)
    assert gpt4o.cost(Usage(1_000_000, 100_000), batch=True) == pytest.approx(1.75)
    older = price("gpt-4o-2024-05-13")
    assert older is not None and older.input == 5.0
    assert price("llava-1.5-7b") is None and price("gpt-4o-audio") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[model]]\nname = 'm'\ninput = -1\noutput = 2\n", r"model.0.input: .* 0"),
        ("[[model]]\nname = 'm'\ninput = 1\n", "output: Field required"),
        ("[[model", "no prices can be read"),
        ("[[model]]\nname = 'm'\ninput = 1\noutput = 2\nprice = 3\n", "model.0.price: Unexpected"),
    ],
)
def test_a_table_that_is_none(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(CaptionlakeError, match=said):
        price_of(TeacherConfig(model="m", prices=path))


@settings(deadline=None, max_examples=60)
@given(
    limit=st.floats(0.0, 0.2),
    replies=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 1000), st.booleans()), max_size=60),
    seed=st.integers(0, 1000),
)
def test_the_sum_never_passes_the_limit(limit: float, replies: list[tuple[int, int, bool]], seed: int) -> None:
    """Requests that end in any order, as long as none takes more tokens than it can."""
    chance = random.Random(seed)
    budget = Budget(Price(name="m", input=1.0, output=10.0), limit)

    async def one(tokens: int, words: int, lost: bool) -> None:
        amount = budget.most(3000, 1000)
        try:
            await budget.reserve(amount)
        except BudgetReached:
            return
        assert budget.spent + budget.lost + budget.reserved <= limit + 1e-12
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
        budget.settle(amount, None if lost else Usage(tokens, words), unknown=lost)
        assert budget.spent + budget.lost + budget.reserved <= limit + 1e-12

    async def all_of() -> None:
        await asyncio.wait_for(asyncio.gather(*(one(*reply) for reply in replies)), 20)

    asyncio.run(all_of())
    assert budget.reserved == 0.0


def test_a_server_that_counts_more_tokens_than_there_can_be(
    lake: Lake, photographed: Photographed, teacher: Teacher, prices: Path
) -> None:
    """Its first replies cost more than was set aside; after that more is."""
    rows = photographed(60)
    with TeacherServer(usage=(100_000, 100)) as server:
        config = teacher(server.url, prices=prices, max_cost_usd=1.0, max_concurrency=1)
        with pytest.raises(CaptioningStopped, match="max_cost_usd"):
            caption(lake, rows, config, "sharegpt4v")
    assert lake.value("SELECT sum(cost_usd) FROM captions") <= 1.0
