"""Money: what is spent, what is set aside for requests on their way, and the limit that both together never pass."""

import asyncio

from captionlake.models.teacher.outcome import Usage
from captionlake.models.teacher.prices import Price


class BudgetReached(Exception):
    """No further request fits, and none is on its way whose end would make room."""


class Budget:
    """Sets aside the most that a request can cost before it is sent, and counts what it did cost after.

    ``lost`` is what requests may have cost that brought no usage to count: they count in full. Without a ``price``, nothing
    is known and nothing limited.
    """

    def __init__(self, price: Price | None, limit: float | None, *, spent: float = 0.0, batch: bool = False) -> None:
        self.price = price
        self.limit = limit
        self.spent = spent  # by captions that are there already, too
        self.lost = 0.0
        self.reserved = 0.0
        self._batch = batch
        self._dearer = 1.0  # the most by which a request's cost passed what was set aside
        self._waiting: list[asyncio.Future[None]] = []

    def most(self, input_tokens: int, output_tokens: int) -> float:
        """The most that a request can cost, by the tokens that it can take at most."""
        if self.price is None:
            return 0.0
        return self.price.cost(Usage(input_tokens, output_tokens), batch=self._batch) * self._dearer

    def fits(self, amount: float) -> bool:
        """Whether so much is left."""
        return self.limit is None or self.spent + self.lost + self.reserved + amount <= self.limit

    async def reserve(self, amount: float) -> None:
        """Set money aside, waiting for requests on their way where that can make room. Raises ``BudgetReached``."""
        while not self.fits(amount):
            if self.reserved <= 0.0:
                raise BudgetReached
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await waiter
        self.reserved += amount

    def take(self, amount: float) -> bool:
        """Set money aside if there is so much."""
        if not self.fits(amount):
            return False
        self.reserved += amount
        return True

    def settle(self, amount: float, usage: Usage | None, *, unknown: bool = False) -> float | None:
        """A request is over: of the money set aside, count what it cost, or all of it where that is ``unknown``.

        Returns the cost, None where it is not known.
        """
        self._free(amount)
        cost: float | None = None
        if usage is not None and self.price is not None:
            cost = self.price.cost(usage, batch=self._batch)
            self.spent += cost
            if 0.0 < amount < cost:
                self._dearer = max(self._dearer, self._dearer * cost / amount)
        elif unknown:
            self.lost += amount
        return cost

    def _free(self, amount: float) -> None:
        self.reserved -= amount
        if self.reserved < 1e-12:
            self.reserved = 0.0
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)
