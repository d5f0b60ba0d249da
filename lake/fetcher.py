"""The downloading process: ``python -m captionlake.lake.fetcher CONFIG.json`` runs img2dataset behind the guard.

img2dataset spawns worker processes, and new ones after some shards. Each of them imports this file as ``__mp_main__``,
and so installs the guard before it opens anything; the policy comes in an environment variable. Started only by
``captionlake.lake.download``, as the leader of a process group of its own, its stdin a pipe that its parent holds open.
"""

import importlib
import json
import logging
import math
import multiprocessing
import os
import select
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

from captionlake.lake.fetch_cluster import Fetchers, connected, shared
from captionlake.lake.guard import LIMITS_VARIABLE, POLICY_VARIABLE, FetchPolicy, install
from captionlake.lake.guarded_downloads import WATCH, GuardedDownloads, lighten, wait_while

DISTRIBUTOR_VARIABLE = "CAPTIONLAKE_FETCH_DISTRIBUTOR"  # of img2dataset
HOLD_VARIABLE = "CAPTIONLAKE_FETCH_HOLD"  # a file; while it exists, no further picture is asked for
MAX_WAITING = 4  # whole shards on disk that nobody has taken yet, above which the download holds
GRACE = 20.0  # seconds from the end of img2dataset's workers to its own

_log = logging.getLogger("captionlake.fetcher")


class _NoLogger:
    """In the place of img2dataset's logging process, which would print what nobody reads."""

    def __init__(self, *_: Any) -> None:
        self.done_shards: set[int] = set()

    def start(self) -> None: ...

    def join(self) -> None: ...

    def terminate(self) -> None: ...


def _prepare() -> None:
    """What every downloading process needs before it touches img2dataset."""
    lighten()
    if os.environ[DISTRIBUTOR_VARIABLE] != "ray":
        sys.modules.setdefault("ray", None)  # type: ignore[arg-type]  # which img2dataset would import where it is installed
    policy = FetchPolicy(**json.loads(os.environ[POLICY_VARIABLE]))
    hold = Path(os.environ[HOLD_VARIABLE])
    install(policy, partial(wait_while, hold), limits=Path(os.environ[LIMITS_VARIABLE]), framed=True)


def _die(why: str) -> None:
    """End this process and its workers at once. multiprocessing's own tracker outlives that to free the semaphores."""
    _log.error("%s", why)
    os.killpg(0, signal.SIGTERM)


def _watch(parent: int, shards: Path) -> None:
    """Die with the parent, and with any worker that dies; hold the download while finished shards pile up."""
    try:
        _die(_reason_to_die(parent, shards))
    except Exception as error:
        _die(f"the download cannot be watched: {error}")


def _reason_to_die(parent: int, shards: Path) -> str:
    hold = Path(os.environ[HOLD_VARIABLE])
    workers: set[multiprocessing.process.BaseProcess] = set()
    last_moment = math.inf
    while True:
        readable, _, _ = select.select([0], [], [], WATCH)
        if (readable and not os.read(0, 1)) or os.getppid() != parent:
            return "the process that asked for the pictures is gone"
        alive = set(multiprocessing.active_children())
        for worker in workers - alive:
            # A pool whose worker is killed waits for its shard for ever. SIGTERM is how img2dataset ends its pool.
            if worker.exitcode == -signal.SIGTERM:
                last_moment = min(last_moment, time.monotonic() + GRACE)
            elif worker.exitcode != 0:
                return f"a downloading process died with status {worker.exitcode}; -9 often means: out of memory"
        if time.monotonic() > last_moment:
            return "a downloading process was told to end, and the download did not"
        workers = alive
        waiting = sum(name.endswith("_stats.json") for name in os.listdir(shards)) if shards.is_dir() else 0
        if waiting >= MAX_WAITING:
            hold.touch()
        else:
            hold.unlink(missing_ok=True)


def main(config: Path) -> None:
    """Run img2dataset as CONFIG.json says: ``requests``, ``shards``, ``shard_size``, the parent's process id, and the cluster."""
    logging.basicConfig(
        level=logging.INFO, format="\n%(levelname)s: %(message)s"
    )  # a progress bar leaves its line open
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    told = json.loads(config.read_text())
    threading.Thread(target=_watch, args=(told["parent"], Path(told["shards"])), daemon=True).start()
    policy = FetchPolicy(**json.loads(os.environ[POLICY_VARIABLE]))
    img2dataset: Any = importlib.import_module("img2dataset.main")  # the package's attribute "main" is a function
    img2dataset.LoggerProcess = _NoLogger
    fetchers = Fetchers(told["distributor"], told["address"])
    with connected(fetchers, policy.processes) as machines:
        if fetchers.distributor != "multiprocessing":  # else the processes are of this file's own making, and guarded
            hold = Path(os.environ[HOLD_VARIABLE])
            guarded = partial(GuardedDownloads, shared(policy, machines), hold, told["limits"])
            downloader = img2dataset.Downloader
            img2dataset.Downloader = lambda *args, **options: guarded(downloader(*args, **options))
        _download(img2dataset, told, policy)


def _download(img2dataset: Any, told: dict[str, Any], policy: FetchPolicy) -> None:
    img2dataset.download(
        told["requests"],
        distributor=told["distributor"],
        input_format="parquet",
        url_col="url",
        save_additional_columns=["row_id"],
        output_folder=told["shards"],
        output_format="parquet",
        number_sample_per_shard=told["shard_size"],
        processes_count=policy.processes,
        thread_count=policy.threads,
        resize_mode="no",
        disable_all_reencoding=True,
        extract_exif=False,
        compute_hash=None,
        retries=0,
        enable_wandb=False,
        disallowed_header_directives=None,  # the guard judges them
    )


if __name__ in ("__main__", "__mp_main__"):
    _prepare()
if __name__ == "__main__":
    main(Path(sys.argv[1]))
