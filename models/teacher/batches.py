"""The Batch API: requests as files, answered within a day for about half the price. The same command goes on days later.

Each step is noted before it is taken and after. Between the two a kill can leave a batch submitted whose id we lack: it
carries our own name in its metadata, and is looked for among the endpoint's before it would be submitted again.
"""

import asyncio
import json
import logging
import os
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.models.captions.key import Wanted
from captionlake.models.captions.pending import Pending
from captionlake.models.captions.table import Line, commit_lines
from captionlake.models.teacher.batch_state import Batch, forget, my_batches, note
from captionlake.models.teacher.budget import Budget, BudgetReached
from captionlake.models.teacher.caption_line import spool_line, told
from captionlake.models.teacher.caption_run import CaptionRun
from captionlake.models.teacher.endpoint import Endpoint
from captionlake.models.teacher.outcome import AGAIN, NoCaption, Outcome, Reply
from captionlake.models.teacher.pace import back_off
from captionlake.models.teacher.pending import Asked
from captionlake.models.teacher.pictures import Pictures
from captionlake.models.teacher.reply import caption_of, problem

log = logging.getLogger(__name__)

T = TypeVar("T")
MAX_REQUESTS = 50_000  # of one batch, and
MAX_BYTES = 190_000_000  # of its file (OpenAI: 200 MB)
_METADATA = "captionlake"
_ENDED = ("completed", "failed", "expired", "cancelled")
_COMMIT_ROWS = 2000


class Batches:
    """One run: submits what is pending, then waits for all batches of this producer."""

    def __init__(self, lake: Lake, asked: Asked, pending: Pending, budget: Budget, run: CaptionRun) -> None:
        self._lake = lake
        self._asked = asked
        self._pending = pending
        self._budget = budget
        self._run = run
        self.stopped: BaseException | None = None
        self._left = self._wanted()
        self._next: Wanted | None = None  # read, and not yet in a batch
        self._advance: Callable[[int], None] = lambda _: None

    async def ask_all(self, advance: Callable[[int], None]) -> None:
        """Submit and collect; ends early, with batches still on their way, after ``batch_wait_s``."""
        self._advance = advance
        self._endpoint = Endpoint(self._asked.config)
        self._pictures = Pictures(self._lake, self._asked.config, self._budget.price)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lake")
        try:
            await self._all()
        except NoCaption as failure:
            self.stopped = self._endpoint.stopped(failure.outcome, failure.detail, self._asked.config.model)
        except CaptionlakeError as error:
            self.stopped = error
        finally:
            self._run.waiting = sum(batch.requests for batch in my_batches(self._lake, self._run.producer))
            self._pictures.close()
            self._thread.shutdown()
            await self._endpoint.close()

    async def _all(self) -> None:
        wait = self._asked.config.batch_wait_s
        until = time.monotonic() + wait if wait is not None else None
        open_batches = [
            batch for each in my_batches(self._lake, self._run.producer) if (batch := await self._resume(each))
        ]
        while True:
            full = await self._submit_more(open_batches)
            if not open_batches:
                self.stopped = BudgetReached() if full else None
                return
            open_batches = [batch for batch in open_batches if not await self._collected(batch)]
            if not open_batches:
                continue
            if until is not None and time.monotonic() >= until:
                return
            await asyncio.sleep(self._asked.config.batch_poll_s)

    # Submitting

    async def _resume(self, batch: Batch) -> Batch | None:
        """A batch of an earlier run, brought to the state submitted; one that was never whole is dropped."""
        if batch.url != self._endpoint.url:
            raise CaptionlakeError(
                f"a batch of {batch.producer} is with {batch.url}, not {self._endpoint.url}: collect it there first"
            )
        if batch.state == "preparing":
            forget(self._lake, batch)
            return None
        self._budget.reserved += batch.reserved
        return batch if batch.state == "submitted" else await self._submit(batch)

    async def _submit_more(self, open_batches: list[Batch]) -> bool:
        """Make and submit batches until nothing is pending (False) or the budget takes no more (True)."""
        while await self._in_thread(self._more):
            batch = await self._in_thread(self._prepare)
            if batch is None:
                return await self._in_thread(self._more)
            open_batches.append(await self._submit(batch))
        return False

    def _more(self) -> bool:
        if self._next is None:
            self._next = next(self._left, None)
        return self._next is not None

    def _wanted(self) -> Iterator[Wanted]:
        while (chunk := self._pending.chunk()) is not None:
            yield from chunk

    def _prepare(self) -> Batch | None:
        """Write the files of the next batch; None where the budget does not take one more request."""
        config = self._asked.config
        batch = Batch(own=uuid.uuid4().hex, producer=config.captions_by, url=self._endpoint.url)
        batch = note(self._lake, batch)
        size = count = 0
        reserved = 0.0
        with (
            batch.path(self._lake, "rows").open("wb") as rows,
            batch.path(self._lake, "requests").open("wb") as requests,
        ):
            while count < MAX_REQUESTS and self._more():
                assert self._next is not None
                one = self._next
                try:
                    ready = self._pictures.make(one)
                except NoCaption as failure:
                    self._run.fail(one.image_id, failure.outcome, failure.detail)
                    self._next = None
                    continue
                head = {"custom_id": one.caption_id, "method": "POST", "url": "/v1/chat/completions"}
                line = json.dumps(head)[:-1].encode() + b', "body": ' + ready.body + b"}\n"
                most = self._budget.most(ready.most_input_tokens, config.max_tokens)
                if (count and size + len(line) > MAX_BYTES) or not self._budget.take(most):
                    break
                key = spool_line(self._asked, one.caption_id, one.image_id, one.prompt.prompt_id, one.prompt.sha256)
                rows.write(json.dumps(key, ensure_ascii=False).encode() + b"\n")
                requests.write(line)
                size, count, reserved = size + len(line), count + 1, reserved + most
                self._next = None
            for file in (rows, requests):
                file.flush()
                os.fsync(file.fileno())
        if not count:
            forget(self._lake, batch)
            return None
        return note(self._lake, batch, state="prepared", requests=count, reserved=reserved)

    async def _submit(self, batch: Batch) -> Batch:
        client = self._endpoint.client
        if batch.state == "prepared":
            path = batch.path(self._lake, "requests")
            uploaded = await self._call(lambda: client.files.create(file=path, purpose="batch"))
            batch = note(self._lake, batch, state="uploaded", file_id=uploaded.id)

        async def create() -> str:
            if (found := await self._find(batch)) is not None:
                return found
            assert batch.file_id is not None
            made = await client.batches.create(
                input_file_id=batch.file_id,
                endpoint="/v1/chat/completions",
                completion_window="24h",
                metadata={_METADATA: batch.own},
            )
            return made.id

        batch_id = await self._call(create)
        self._run.requests += batch.requests
        batch = note(self._lake, batch, state="submitted", batch_id=batch_id)
        batch.path(self._lake, "requests").unlink(missing_ok=True)
        log.info("batch %s of %d requests is submitted", batch_id, batch.requests)
        return batch

    async def _find(self, batch: Batch) -> str | None:
        """The id of the batch that carries our name, where a run that was killed submitted it."""
        async for each in self._endpoint.client.batches.list(limit=100):
            if (each.metadata or {}).get(_METADATA) == batch.own:
                return each.id
        return None

    # Collecting

    async def _collected(self, batch: Batch) -> bool:
        """Whether the batch is over; what it brought is committed then."""
        client = self._endpoint.client
        assert batch.batch_id is not None
        found = await self._call(lambda: client.batches.retrieve(batch.batch_id or ""))
        if found.status not in _ENDED:
            return False
        rows = batch.rows(self._lake)
        if found.status == "failed":
            said = (
                "; ".join(str(each.message) for each in (found.errors.data or []))
                if found.errors
                else "no reason given"
            )
            forget(self._lake, batch)
            self._budget.settle(batch.reserved, None)
            raise CaptionlakeError(
                f"the endpoint refused batch {batch.batch_id} ({self._endpoint.without_key(' '.join(said.split())[:300])}): "
                "mend that and run this again"
            )
        for file_id in (found.output_file_id, found.error_file_id):
            if file_id is not None:
                path = batch.path(self._lake, "output")
                await self._call(lambda name=file_id, path=path: self._download(name, path))  # type: ignore[misc]
                await self._in_thread(lambda path=path: self._take(path, rows))  # type: ignore[misc]
        for key in rows.values():
            self._run.attempt(Outcome.EXPIRED)
            self._run.fail(
                key["image_id"], Outcome.EXPIRED, f"batch {batch.batch_id} is {found.status} without its reply"
            )
        self._budget.settle(batch.reserved, None)
        forget(self._lake, batch)
        return True

    async def _download(self, file_id: str, path: Path) -> None:
        async with self._endpoint.client.files.with_streaming_response.content(file_id) as response:
            await response.stream_to_file(path)

    def _take(self, path: Path, rows: dict[str, Line]) -> None:
        """The lines of a file of replies, into captions and counts; those that are done leave ``rows``."""
        done: list[Line] = []
        with path.open("rb") as file:
            for raw in file:
                try:
                    line = json.loads(raw)
                    key = rows.pop(line["custom_id"])
                except (ValueError, KeyError, TypeError):
                    log.warning("%s has a line that is none of ours: it is left out", path.name)
                    continue
                try:
                    done.append(key | self._told(self._endpoint.redacted(_reply(line))))
                except NoCaption as failure:
                    self._budget.settle(0.0, failure.usage)
                    self._run.attempt(failure.outcome)
                    self._run.fail(key["image_id"], failure.outcome, self._endpoint.without_key(failure.detail))
                self._advance(1)
                if len(done) >= _COMMIT_ROWS:
                    commit_lines(self._lake, done)
                    done = []
        commit_lines(self._lake, done)

    def _told(self, reply: Reply) -> Line:
        cost = self._budget.settle(0.0, reply.usage)
        self._run.captioned += 1
        if reply.usage is not None:
            self._run.input_tokens += reply.usage.input_tokens
            self._run.output_tokens += reply.usage.output_tokens
        return told(reply, cost)

    # Calls

    async def _call(self, what: Callable[[], Awaitable[T]]) -> T:
        """A call that costs nothing, repeated where that may help. Raises ``NoCaption`` where it does not."""
        attempts = self._asked.config.max_attempts
        for attempt in range(1, attempts + 1):
            try:
                return await what()
            except Exception as error:
                if isinstance(error, CaptionlakeError | OSError):
                    raise
                failure = self._endpoint.failure(error)
                if failure.outcome not in AGAIN or attempt == attempts:
                    raise failure from None
                self._run.attempt(failure.outcome)
                await asyncio.sleep(max(back_off(attempt), failure.retry_after or 0.0))
        raise AssertionError("unreachable")

    async def _in_thread(self, what: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, what)


def _reply(line: dict[str, Any]) -> Reply:
    """One line of an output or error file."""
    response = line.get("response")
    if isinstance(response, dict) and response.get("status_code") == 200:
        return caption_of(response.get("body"))
    if isinstance(response, dict) and isinstance(response.get("status_code"), int):
        raise problem(response["status_code"], response.get("body"))
    error = line.get("error")
    if isinstance(error, dict) and "expired" in str(error.get("code")):
        raise NoCaption(Outcome.EXPIRED, str(error.get("message")))
    raise problem(500, line)
