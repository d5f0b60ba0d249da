"""A Ray cluster of several nodes on loopback, and an engine there that kills one of them at the worst moment."""

import sys
import time
import uuid
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from captionlake.lake.fetch_cluster import Fetchers
from captionlake.lake.ray_engine import RayEngine

_STORE = 80 * 2**20  # bytes of a node's object store


class Nodes:
    """A head, at which this process is the driver and nothing runs, and three nodes with one core each."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._told = {"object_store_memory": _STORE, "include_dashboard": False, "node_ip_address": "127.0.0.1"}
        self.cluster: Any = Cluster(initialize_head=True, head_node_args={**self._told, "num_cpus": 0})
        self.fill()

    def fill(self) -> None:
        """Three living nodes, in the place of dead ones new ones."""
        while len(self.cluster.worker_nodes) < 3:
            self.cluster.add_node(**self._told, num_cpus=1)
        self.cluster.wait_for_nodes()

    def close(self) -> None:
        """End all nodes."""
        self.cluster.shutdown()

    def kill(self, node_id: str) -> None:
        """SIGKILL to the node's processes, its workers too: they outlive it for a moment, and may still tell what they did."""
        node = next(one for one in self.cluster.worker_nodes if one.node_id == node_id)
        workers = psutil.Process(node.all_processes["raylet"][0].process.pid).children(recursive=True)
        self.cluster.remove_node(node, allow_graceful=False)
        for worker in workers:
            with suppress(psutil.NoSuchProcess):
                worker.kill()


FREE = 3  # tasks that are done at once; the others wait until a node was killed


class Watched:
    """What a task does, after a note in ``folder`` that it began on this node, and, but for the first tasks, the file ``killed`` there."""

    def __init__(self, do: Callable[[Any, Any], Iterable[Any]], folder: Path) -> None:
        self._do, self._folder = do, folder

    def __call__(self, state: Any, numbered: tuple[int, Any]) -> list[Any]:
        import ray

        number, task = numbered
        (self._folder / f"{number}-{ray.get_runtime_context().get_node_id()}-{uuid.uuid4().hex}").touch()
        end = time.monotonic() + 500
        while number >= FREE and not (self._folder / "killed").exists() and time.monotonic() < end:
            time.sleep(0.02)
        return list(self._do(state, task))


class Killing:
    """An engine that kills a node which has a task in hand, once the first results have come."""

    def __init__(self, engine: RayEngine, nodes: Nodes, folder: Path) -> None:
        self._engine, self._nodes, self._folder = engine, nodes, folder
        self.tasks, self.killed = 0, ""
        folder.mkdir()

    def fetchers(self) -> Fetchers:
        return self._engine.fetchers()

    def threads(self, *, gpu: bool) -> int | None:
        return self._engine.threads(gpu=gpu)

    def run(
        self, load: Any, do: Callable[[Any, Any], Iterable[Any]], tasks: Iterable[Any], *, gpu: bool = False
    ) -> Generator[Any]:
        def numbered() -> Iterable[tuple[int, Any]]:
            for task in tasks:
                yield self.tasks, task
                self.tasks += 1

        for result in self._engine.run(load, Watched(do, self._folder), numbered(), gpu=gpu):
            if not self.killed:
                self.killed = self._busy()
                self._nodes.kill(self.killed)
                (self._folder / "killed").touch()
            yield result

    def again(self) -> int:
        """How many tasks were begun a second time."""
        began = [int(note.name.partition("-")[0]) for note in self._folder.glob("*-*")]
        return len(began) - len(set(began))

    def _busy(self) -> str:
        end = time.monotonic() + 500
        while time.monotonic() < end:
            for note in self._folder.glob("*-*"):
                number, node, _ = note.name.split("-")
                if int(number) >= FREE:
                    return node
            time.sleep(0.02)
        raise AssertionError("no node has a task in hand")


def by_value() -> None:
    """Nodes cannot import this file, so that what they need of it travels with the task."""
    import ray

    pickling: Any = ray.cloudpickle
    pickling.register_pickle_by_value(sys.modules[__name__])
