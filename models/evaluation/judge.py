"""The judge: any OpenAI-compatible endpoint, asked about answers. Each reply is on the disk before its slot takes the next request.

Endpoint, pace, budget and outcomes are the teacher's.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from captionlake.errors import CaptionlakeError
from captionlake.models.captions.key import canonical
from captionlake.models.evaluation.answering import KeptLines
from captionlake.models.evaluation.benchmark import Item, JudgePrompt
from captionlake.models.teacher.budget import Budget, BudgetReached
from captionlake.models.teacher.endpoint import Endpoint
from captionlake.models.teacher.outcome import AGAIN, STOPS, UNKNOWN_COST, NoCaption, Outcome
from captionlake.models.teacher.pace import Pace, back_off
from captionlake.models.teacher.prices import price_of
from captionlake.models.teacher.teacher_config import TeacherConfig

_FRAME_TOKENS = 32  # of the chat's own marks, at most
_CONNECT_ATTEMPTS = 4


@dataclass(slots=True)
class Judged:
    """``replies`` by item; ``failed`` are the items that got none, with the reason; ``asked``, how many replies are new."""

    replies: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    asked: int = 0


class Judge:
    """One model at one endpoint. ``budget`` is over all benchmarks of a run."""

    def __init__(self, config: TeacherConfig) -> None:
        self.config = config
        self.budget = Budget(price_of(config), config.max_cost_usd)

    def check(self) -> None:
        """Raises where there is no key, or no package to ask with: before hours of answering."""

        async def made() -> None:
            await Endpoint(self.config).close()

        asyncio.run(made())

    def told(self) -> dict[str, object]:
        """What decides a judgement, beside the prompt: for keys and for results."""
        return {"model": self.config.model, "base_url": self.config.base_url, **self.config.params()}

    def judge(
        self, answered: Sequence[tuple[Item, str]], prompt: JudgePrompt, kept: KeptLines, advance: Callable[[int], None]
    ) -> Judged:
        """A judgement of each answer. Those that are kept are not asked for again. Raises where no request can succeed, or where the
        budget is reached; what came is kept."""
        run = _Run(self, prompt, kept, advance)
        jobs = []
        for item, answer in answered:
            messages = prompt.messages(item, answer)
            key = sha256(canonical([messages, self.told()]).encode()).hexdigest()[:32]
            if (line := kept.found.get(key)) is not None:
                run.judged.replies[item.id] = line["text"]
                self.budget.spent += line.get("cost_usd") or 0.0
                advance(1)
            else:
                jobs.append(_Job(item, key, _body(self.config, messages)))
        if jobs:
            asyncio.run(run.all(jobs))
        if isinstance(run.stopped, BudgetReached):
            raise CaptionlakeError(
                f"the most that judging may cost, {self.config.max_cost_usd:g} US dollars, is reached: {len(jobs) - run.judged.asked:,} "
                "judgements are left: raise it and run this again"
            )
        if run.stopped is not None:
            raise run.stopped
        return run.judged


@dataclass(frozen=True, slots=True)
class _Job:
    item: Item
    key: str
    body: bytes


class _Run:
    def __init__(self, judge: Judge, prompt: JudgePrompt, kept: KeptLines, advance: Callable[[int], None]) -> None:
        self._config, self._budget = judge.config, judge.budget
        self._kept = kept
        self._advance = advance
        self.judged = Judged()
        self.stopped: BaseException | None = None

    async def all(self, jobs: Sequence[_Job]) -> None:
        config = self._config
        self._endpoint = Endpoint(config)
        self._pace = Pace(
            config.max_concurrency,
            requests_per_minute=config.requests_per_minute,
            tokens_per_minute=config.tokens_per_minute,
        )
        waiting = iter(jobs)

        async def work() -> None:
            while self.stopped is None and (job := next(waiting, None)) is not None:
                try:
                    await self._one(job)
                except Exception as error:  # BudgetReached among them
                    self.stopped = self.stopped or error

        try:
            await asyncio.gather(*(work() for _ in range(min(config.max_concurrency, len(jobs)))))
        finally:
            await self._endpoint.close()

    async def _one(self, job: _Job) -> None:
        for attempt in range(1, self._config.max_attempts + 1):
            failure = await self._attempt(job)
            if failure is None:
                return
            outcome = failure.outcome
            last = attempt >= min(
                _CONNECT_ATTEMPTS if outcome is Outcome.ENDPOINT_DOWN else 50, self._config.max_attempts
            )
            if outcome in STOPS and (outcome is not Outcome.ENDPOINT_DOWN or last):
                raise self._endpoint.stopped(outcome, failure.detail, self._config.model)
            if last or outcome not in AGAIN:
                self.judged.failed[job.item.id] = f"{outcome}: {failure.detail}"
                self._advance(1)
                return
            if self.stopped is not None:
                return
            await asyncio.sleep(max(back_off(attempt), failure.retry_after or 0.0))

    async def _attempt(self, job: _Job) -> NoCaption | None:
        """One request. Returns why it brought no judgement."""
        most = len(job.body) + _FRAME_TOKENS  # a token is at least a byte
        amount = self._budget.most(most, self._config.max_tokens)
        await self._budget.reserve(amount)
        sent_at = await self._pace.take(most + self._config.max_tokens)
        try:
            reply = await self._endpoint.ask(job.body)
            cost = self._budget.settle(amount, reply.usage, unknown=reply.usage is None)
            line = {
                "key": job.key,
                "item": job.item.id,
                "text": reply.text,
                "revision": reply.revision,
                "cost_usd": cost,
            }
            self._kept.add([line])
            self.judged.replies[job.item.id] = reply.text
            self.judged.asked += 1
            self._pace.succeeded()
            self._advance(1)
            return None
        except NoCaption as failure:
            self._budget.settle(amount, failure.usage, unknown=failure.outcome in UNKNOWN_COST)
            if failure.overload:
                self._pace.overloaded(sent_at, failure.retry_after)
            return failure
        except asyncio.CancelledError:
            self._budget.settle(amount, None, unknown=True)
            raise
        finally:
            self._pace.give()


def _body(config: TeacherConfig, messages: list[dict[str, str]]) -> bytes:
    told: dict[str, Any] = {"model": config.model, "messages": messages, config.max_tokens_key: config.max_tokens}
    for name in ("temperature", "seed"):
        if getattr(config, name) is not None:
            told[name] = getattr(config, name)
    return json.dumps(told, ensure_ascii=False).encode()
