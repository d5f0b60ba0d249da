"""Asks an endpoint for captions, many at a time, each reply on the disk before its slot takes the next request.

Only the thread ``lake`` touches the lake's tables, only the event loop the counts.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from captionlake.lake import Lake
from captionlake.models.captions.key import Wanted
from captionlake.models.captions.pending import Pending
from captionlake.models.captions.table import Line
from captionlake.models.teacher.budget import Budget
from captionlake.models.teacher.caption_line import spool_line, told
from captionlake.models.teacher.caption_run import CaptionRun
from captionlake.models.teacher.endpoint import Endpoint
from captionlake.models.teacher.interrupts import Interrupts
from captionlake.models.teacher.outcome import AGAIN, STOPS, UNKNOWN_COST, NoCaption, Outcome, Reply
from captionlake.models.teacher.pace import Pace, back_off
from captionlake.models.teacher.pending import Asked
from captionlake.models.teacher.pictures import Pictures, Ready
from captionlake.models.teacher.spool import Spool, commit_files

log = logging.getLogger(__name__)

COMMIT_ROWS = 500
COMMIT_SECONDS = 30.0
_COMMIT_PAUSE = 5.0  # seconds between commits, however many replies come
_CONNECT_ATTEMPTS = 4
_EMPTY_ATTEMPTS = 2
_HOPELESS = 20  # failures before any caption
_AT_REQUEST = {Outcome.BAD_REQUEST, Outcome.SERVER_ERROR, Outcome.INVALID_REPLY, Outcome.EMPTY, Outcome.HALF_REPLY}


class Asking:
    """One run. ``stopped`` tells why it ended before its time."""

    def __init__(self, lake: Lake, asked: Asked, pending: Pending, budget: Budget, run: CaptionRun) -> None:
        self._lake = lake
        self._asked = asked
        self._config = asked.config
        self._pending = pending
        self._budget = budget
        self._run = run
        self.stopped: BaseException | None = None
        self._stopping = False
        self._committed = 0  # of the captions that arrived
        self._busy: set[asyncio.Task[None]] = set()
        self._workers: list[asyncio.Task[None]] = []
        self._feeder: asyncio.Task[None] | None = None
        self._advance: Callable[[int], None] = lambda _: None

    async def ask_all(self, advance: Callable[[int], None]) -> None:
        """Ask for all that is pending, or until something stops it; then everything that arrived is committed."""
        self._advance = advance
        config = self._config
        self._endpoint = Endpoint(config)
        self._pictures = Pictures(self._lake, config, self._budget.price)
        self._lake_thread = ThreadPoolExecutor(1, thread_name_prefix="lake")
        self._spool = Spool(self._lake.path / "spool", config.captions_by)
        self._pace = Pace(
            config.max_concurrency,
            requests_per_minute=config.requests_per_minute,
            tokens_per_minute=config.tokens_per_minute,
        )
        self._spool.start()
        # Some more than there are slots, so that the next picture is ready when one is free.
        n_workers = config.max_concurrency + config.max_concurrency // 4 + 2
        self._jobs: asyncio.Queue[Wanted | None] = asyncio.Queue(n_workers)
        self._feeder = asyncio.create_task(self._feed())
        self._workers = [asyncio.create_task(self._work()) for _ in range(n_workers)]
        committer = asyncio.create_task(self._commit_now_and_then())
        try:
            with Interrupts(self.interrupt):
                await asyncio.gather(self._feeder, *self._workers, return_exceptions=True)
        except asyncio.CancelledError:
            self._cancel(every=True)
            await asyncio.gather(*self._workers, return_exceptions=True)
            raise
        finally:
            committer.cancel()
            await asyncio.gather(committer, return_exceptions=True)
            await self._finish()

    async def _finish(self) -> None:
        self._run.in_flight = self._pace.highest
        self._pictures.close()
        self._spool.close()
        await self._endpoint.close()
        try:
            await self._in_lake_thread(self._commit)
        except Exception as error:
            self.stopped = self.stopped or error
        self._lake_thread.shutdown()

    # What is to be asked

    async def _feed(self) -> None:
        try:
            following = self._in_lake_thread(self._pending.chunk)
            while (chunk := await following) is not None:
                following = self._in_lake_thread(self._pending.chunk)  # while this one is asked for
                for one in chunk:
                    await self._jobs.put(one)
            await self._jobs.put(None)
        except Exception as error:
            self.stop(error)

    def _in_lake_thread(self, what: Callable[[], Any]) -> "asyncio.Future[Any]":
        return asyncio.get_running_loop().run_in_executor(self._lake_thread, what)

    async def _work(self) -> None:
        try:
            while not self._stopping:
                one = await self._jobs.get()
                if one is None:
                    await self._jobs.put(None)  # for the others
                    return
                await self._one(one)
        except Exception as error:  # BudgetReached among them
            self.stop(error)

    # One caption

    async def _one(self, one: Wanted) -> None:
        try:
            ready = await self._pictures.ready(one)
        except NoCaption as unusable:
            self._fail(one, unusable)
            return
        for attempt in range(1, self._config.max_attempts + 1):
            failure = await self._attempt(one, ready)
            if failure is None:
                return
            if self._is_last(attempt, failure):
                self._fail(one, failure)
                return
            if self._stopping:
                return
            await asyncio.sleep(max(back_off(attempt), failure.retry_after or 0.0))

    async def _attempt(self, one: Wanted, ready: Ready) -> NoCaption | None:
        """One request. Returns why it brought no caption; its cost is counted either way."""
        amount = self._budget.most(ready.most_input_tokens, self._config.max_tokens)
        await self._budget.reserve(amount)
        sent_at = await self._pace.take(ready.most_input_tokens + self._config.max_tokens)
        task = asyncio.current_task()
        assert task is not None
        self._busy.add(task)
        self._run.requests += 1
        try:
            reply = await self._endpoint.ask(ready.body)
            cost = self._budget.settle(amount, reply.usage, unknown=reply.usage is None)
            await self._spool.append(self._line(one, reply, cost))
            self._count(reply)
            self._pace.succeeded()
            return None
        except NoCaption as failure:
            self._budget.settle(amount, failure.usage, unknown=failure.outcome in UNKNOWN_COST)
            self._run.attempt(failure.outcome)
            if failure.overload:
                self._pace.overloaded(sent_at, failure.retry_after)
            if failure.outcome in STOPS - {Outcome.ENDPOINT_DOWN}:
                self.stop(self._endpoint.stopped(failure.outcome, failure.detail, self._config.model))
            return failure
        except asyncio.CancelledError:
            self._budget.settle(amount, None, unknown=True)
            raise
        finally:
            self._busy.discard(task)
            self._pace.give()

    def _is_last(self, attempt: int, failure: NoCaption) -> bool:
        outcome = failure.outcome
        if outcome is Outcome.ENDPOINT_DOWN and attempt >= min(_CONNECT_ATTEMPTS, self._config.max_attempts):
            self.stop(self._endpoint.stopped(outcome, failure.detail, self._config.model))
            return False
        if outcome in STOPS:
            return False
        return (
            outcome not in AGAIN
            or attempt >= self._config.max_attempts
            or (outcome is Outcome.EMPTY and attempt >= _EMPTY_ATTEMPTS)
        )

    def _fail(self, one: Wanted, failure: NoCaption) -> None:
        self._run.fail(one.image_id, failure.outcome, failure.detail)
        self._advance(1)
        if not self._run.captioned and failure.outcome in _AT_REQUEST and self._run.n_failed >= _HOPELESS:
            self.stop(self._endpoint.stopped(failure.outcome, failure.detail, self._config.model))

    def _line(self, one: Wanted, reply: Reply, cost: float | None) -> Line:
        return spool_line(self._asked, one.caption_id, one.image_id, one.prompt.prompt_id, one.prompt.sha256) | told(
            reply, cost
        )

    def _count(self, reply: Reply) -> None:
        self._run.captioned += 1
        if reply.usage is not None:
            self._run.input_tokens += reply.usage.input_tokens
            self._run.output_tokens += reply.usage.output_tokens
        self._advance(1)

    # Commits

    async def _commit_now_and_then(self) -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.25)
            waiting, passed = self._run.captioned - self._committed, time.monotonic() - last
            if (waiting >= COMMIT_ROWS and passed >= _COMMIT_PAUSE) or (waiting and passed >= COMMIT_SECONDS):
                self._committed = self._run.captioned
                try:
                    await asyncio.shield(self._in_lake_thread(self._commit))
                except Exception as error:
                    self.stop(error)
                    return
                last = time.monotonic()

    def _commit(self) -> None:
        commit_files(self._lake, self._spool.rotate())

    # Ends

    def stop(self, error: BaseException) -> None:
        """Take no new request; those on their way come to their end."""
        if self.stopped is None:
            self.stopped = error
        self._cancel(every=False)

    def _cancel(self, *, every: bool) -> None:
        first, self._stopping = not self._stopping, True
        if not first and not every:
            return
        if self._feeder is not None:
            self._feeder.cancel()
        for worker in self._workers:
            if (every or worker not in self._busy) and worker is not _current():
                worker.cancel()

    def interrupt(self) -> None:
        """Ctrl-C: the first ends the run when what is on its way has arrived, the second at once."""
        if isinstance(self.stopped, KeyboardInterrupt):
            self._cancel(every=True)
            return
        if self._busy:
            log.warning("waiting for %d replies that are paid for; Ctrl-C again leaves them", len(self._busy))
        self.stop(KeyboardInterrupt())


def _current() -> "asyncio.Task[Any] | None":
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None
