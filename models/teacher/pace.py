"""How many requests go at a time, and how many a minute.

The number at a time is found as TCP finds its window (Jacobson, Congestion Avoidance and Control, 1988): doubled each
round while nothing is lost, then one more each round, halved when the endpoint says that it is too much. A loss among
requests that were sent before the last halving says nothing new.
"""

import asyncio
import random
import time
from collections import deque
from typing import TYPE_CHECKING

from captionlake.errors import require

if TYPE_CHECKING:
    from aiolimiter import AsyncLimiter

_FIRST = 16
_BACK_OFF = 0.5
_LONGEST = 60.0


class Pace:
    """Slots for requests. ``limit`` of them now, at most ``most``."""

    def __init__(
        self, most: int, *, requests_per_minute: float | None = None, tokens_per_minute: float | None = None
    ) -> None:
        self.most = most
        self.limit = float(min(most, _FIRST))
        self.in_flight = 0
        self.highest = 0  # in flight at a time
        self._threshold = float(most)
        self._reduced = 0.0  # when
        self._held_until = 0.0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._requests = _limiter(requests_per_minute, 1.0)
        self._tokens_per_minute = tokens_per_minute
        self._tokens: AsyncLimiter | None = None

    async def take(self, tokens: int) -> float:
        """Wait for a slot, for the end of a pause that the endpoint asked for, and for the limits a minute. Returns the time."""
        while True:
            if self.in_flight >= int(self.limit):
                waiter = asyncio.get_running_loop().create_future()
                self._waiting.append(waiter)
                try:
                    await waiter
                except asyncio.CancelledError:
                    self._wake()
                    raise
                continue
            self.in_flight += 1
            break
        try:
            await self._within_limits(tokens)
        except BaseException:
            self.give()
            raise
        self.highest = max(self.highest, self.in_flight)
        return time.monotonic()

    async def _within_limits(self, tokens: int) -> None:
        if self._requests is not None:
            await self._requests.acquire()
        if self._tokens_per_minute is not None:
            if self._tokens is None:
                self._tokens = _limiter(self._tokens_per_minute, float(tokens))
            assert self._tokens is not None
            await self._tokens.acquire(min(float(tokens), self._tokens.max_rate))
        while (left := self._held_until - time.monotonic()) > 0:
            await asyncio.sleep(left)

    def give(self) -> None:
        """Give a slot back."""
        self.in_flight -= 1
        self._wake()

    def _wake(self) -> None:
        room = int(self.limit) - self.in_flight
        while room > 0 and self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                room -= 1

    def succeeded(self) -> None:
        """A request was answered: the window grows, if at least half of it is in use."""
        if self.limit < self.most and 2 * self.in_flight >= self.limit:
            self.limit += 1.0 if self.limit < self._threshold else 1.0 / self.limit
            self.limit = min(self.limit, float(self.most))

    def overloaded(self, sent_at: float, retry_after: float | None = None) -> None:
        """A request that was sent at ``sent_at`` was too much; nothing is sent for ``retry_after`` seconds."""
        now = time.monotonic()
        if retry_after:
            self._held_until = max(self._held_until, now + retry_after)
        if sent_at <= self._reduced:
            return
        self._reduced = now
        self.limit = self._threshold = max(1.0, self.limit / 2)


def back_off(attempt: int) -> float:
    """Seconds before the attempt after this one: doubled each time, up to a minute, and a random half of it taken off."""
    return random.uniform(0.5, 1.0) * min(_LONGEST, _BACK_OFF * 2.0 ** (attempt - 1))


def _limiter(per_minute: float | None, least: float) -> "AsyncLimiter | None":
    """Lets through at most ``per_minute`` in any minute, save one second's share (or ``least``, what one request needs)."""
    if per_minute is None:
        return None
    limiter = require("aiolimiter", extra="captions").AsyncLimiter
    size = max(per_minute / 60.0, least)
    made: AsyncLimiter = limiter(size, 60.0 * size / per_minute)
    return made
