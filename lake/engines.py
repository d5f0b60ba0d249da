"""Where work is done: here, or on a Ray cluster. A function is applied to tasks, and what it makes comes back in their order.

The work is two functions of a module: ``load`` makes what is dear to make, once in each process that works, and ``do`` takes it and
one task. Both read shards and files, and neither opens a lake: what they make goes back to the process that asked, which alone commits.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager, nullcontext
from typing import Any, Protocol, TypeVar

from captionlake.errors import CaptionlakeError
from captionlake.lake.fetch_cluster import Fetchers

State = TypeVar("State")
Task = TypeVar("Task")
Result = TypeVar("Result")


class Engine(Protocol):
    """``run`` on tasks; ``fetchers`` download."""

    def fetchers(self) -> Fetchers:
        """Which machines fetch pictures by their URLs."""
        ...

    def threads(self, *, gpu: bool) -> int | None:
        """How many threads a task should have that may take a GPU, or may not; None: as many as there are cores."""
        ...

    def run(
        self,
        load: Callable[[], State],
        do: Callable[[State, Task], Iterable[Result]],
        tasks: Iterable[Task],
        *,
        gpu: bool = False,
    ) -> Generator[Result]:
        """The results of each task, in order. Tasks are taken as there is room for them; closing it ends the work.

        ``gpu``: a task may take one. Raises what ``load`` or ``do`` raise, once the results of all tasks before are out.
        """
        ...


class Local:
    """One task after the other, in this process."""

    def fetchers(self) -> Fetchers:
        """See ``Engine``."""
        return Fetchers()

    def threads(self, *, gpu: bool) -> int | None:
        """See ``Engine``."""
        return None

    def run(
        self,
        load: Callable[[], State],
        do: Callable[[State, Task], Iterable[Result]],
        tasks: Iterable[Task],
        *,
        gpu: bool = False,
    ) -> Generator[Result]:
        """See ``Engine``. What was loaded is closed at the end, where it can be."""
        state: Any = load()
        with closing(state) if hasattr(state, "close") else nullcontext():
            for task in tasks:
                yield from do(state, task)


LOCAL = Local()


@contextmanager
def engine_of(name: str, address: str | None = None) -> Iterator[Engine]:
    """The engine that a command names, for the time of a ``with``.

    ``address`` of a Ray cluster; without, RAY_ADDRESS's, or one of this machine alone.
    """
    if name == "local":
        if address is not None:
            raise CaptionlakeError("--ray-address is for --engine ray: add that, or leave the address out")
        yield LOCAL
        return
    from captionlake.lake.ray_engine import RayEngine

    with closing(RayEngine(address)) as engine:
        yield engine


@contextmanager
def fetchers_of(name: str, ray_address: str | None, spark_master: str | None) -> Iterator[Fetchers]:
    """The machines that ``ingest`` names, for the time of a ``with``; ``spark`` knows fetching alone."""
    if spark_master is not None and name != "spark":
        raise CaptionlakeError("--spark-master is for --engine spark: add that, or leave the master out")
    if name == "spark":
        yield Fetchers("pyspark", spark_master)
        return
    with engine_of(name, ray_address) as engine:
        yield engine.fetchers()
