"""``RayEngine``: tasks on the nodes of a Ray cluster. What a node had in hand when it died is done again on another.

Nodes read the lake's files under the paths that this process knows, so they lie on a disk that all of them share. No node opens the
lake's catalog.
"""

import logging
import os
import socket
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterable
from itertools import islice
from typing import Any

from captionlake.errors import CaptionlakeError, require
from captionlake.lake.engines import Result, State, Task
from captionlake.lake.fetch_cluster import LOOPBACK, Fetchers

log = logging.getLogger(__name__)

# of a cluster of this machine alone, for all processes of this one: on loopback, and for those who have the user's token
_ALONE = {LOOPBACK: "0", "RAY_AUTH_MODE": "token"}
RETRIES = 5  # of a task whose node or process died
_PATIENCE = 10.0  # seconds for an answer of a cluster's head
_AHEAD = 2  # tasks given out for each that can run, so that none waits for the next


class RayEngine:
    """Connects when it is made: to ``address``, else to RAY_ADDRESS, else to a cluster of this machine alone, started for it."""

    def __init__(self, address: str | None = None) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        known = address or os.environ.get("RAY_ADDRESS")
        self._set = [] if known else [name for name in _ALONE if name not in os.environ]
        os.environ |= {name: _ALONE[name] for name in self._set}
        self._ray: Any = require("ray", extra="ray")
        self._owned = not self._ray.is_initialized()
        if not self._owned:
            return
        quiet = {
            "log_to_driver": False,
            "logging_level": logging.WARNING,
            "include_dashboard": None if known else False,
        }
        try:
            _ask(known)
            self._ray.init(address=known or "local", **quiet)
        except (OSError, RuntimeError, ValueError) as error:
            raise CaptionlakeError(
                f"no Ray cluster at {known or 'this machine'} ({' '.join(str(error).split())[:200]}): "
                "start one with  ray start --head  and give its address"
            ) from error

    def fetchers(self) -> Fetchers:
        """See ``Engine``: the same cluster."""
        return Fetchers("ray", str(self._ray.get_runtime_context().gcs_address))

    def close(self) -> None:
        """Leave the cluster, which ends what it still does for us; end it, if it was started for us."""
        if self._owned:
            self._ray.shutdown()
        for name in self._set:
            os.environ.pop(name, None)

    def threads(self, *, gpu: bool) -> int:
        """One, or beside a GPU its share of the cluster's cores."""
        cores, gpus = self._has("CPU"), self._has("GPU")
        return max(1, int(cores // gpus)) if gpu and gpus else 1

    def run(
        self,
        load: Callable[[], State],
        do: Callable[[State, Task], Iterable[Result]],
        tasks: Iterable[Task],
        *,
        gpu: bool = False,
    ) -> Generator[Result]:
        """See ``Engine``. ``load`` and ``do`` are pickled, ``do`` for each task; a task's results come together."""
        ray, waiting, left = self._ray, deque[Any](), iter(tasks)
        needs = {"num_cpus": self.threads(gpu=gpu), "num_gpus": int(gpu and self._has("GPU") > 0)}
        remote = ray.remote(_done).options(**needs, max_retries=RETRIES, scheduling_strategy="SPREAD")
        token, loading = uuid.uuid4().hex, ray.put(load)
        try:
            while True:
                for task in islice(left, max(0, self._room(needs) - len(waiting))):
                    waiting.append(remote.remote(token, loading, do, task))
                if not waiting:
                    return
                kind, told = self._got(waiting.popleft())
                if kind == "error":
                    raise CaptionlakeError(told)
                yield from told
        finally:
            for one in waiting:
                ray.cancel(one, force=True)

    def _got(self, reference: Any) -> Any:
        errors = self._ray.exceptions
        try:
            return self._ray.get(reference)
        except (
            errors.WorkerCrashedError,
            errors.NodeDiedError,
            errors.ObjectLostError,
            errors.OutOfMemoryError,
        ) as error:
            raise CaptionlakeError(
                f"a task was lost {RETRIES + 1} times with its process or node, most likely for want of memory "
                f"({type(error).__name__}): lower --batch-size, or give nodes more, and run this again; what was stored is kept"
            ) from error

    def _room(self, needs: dict[str, int]) -> int:
        """How many tasks to have out: nodes come and go."""
        at_once = [self._has("CPU") // needs["num_cpus"]]
        at_once += [self._has("GPU") // needs["num_gpus"]] if needs["num_gpus"] else []
        return _AHEAD * max(1, int(min(at_once)))

    def _has(self, resource: str) -> float:
        return float(self._ray.cluster_resources().get(resource, 0.0))


def _ask(address: str | None) -> None:
    """Raises at once where nothing listens: Ray would try for a minute."""
    host, colon, port = (address or "").rpartition(":")
    if colon and port.isdecimal() and "/" not in host:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()


_loaded: tuple[str, Any] | None = None  # of this process of the cluster: the run it works for, and what that loaded


def _done(token: str, load: Callable[[], Any], do: Callable[[Any, Any], Iterable[Any]], task: Any) -> tuple[str, Any]:
    """A task's results, or a user's error as its line. Runs in a process of the cluster."""
    global _loaded
    try:
        if _loaded is None or _loaded[0] != token:
            _close(_loaded)
            _loaded = None  # its memory first
            _loaded = (token, load())
        return "results", list(do(_loaded[1], task))
    except CaptionlakeError as error:
        return "error", str(error)


def _close(loaded: tuple[str, Any] | None) -> None:
    if loaded is not None and hasattr(loaded[1], "close"):
        loaded[1].close()
