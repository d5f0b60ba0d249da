"""Which machines fetch: this one, or those of a Ray or Spark cluster, by img2dataset's own distributors."""

import dataclasses
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from captionlake.lake.fetch_policy import FetchPolicy

LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # "0": Ray's clusters of one machine, on loopback


@dataclass(frozen=True, slots=True)
class Fetchers:
    """``distributor`` is img2dataset's name of it; ``address`` that of a Ray cluster, or the master of a Spark cluster."""

    distributor: str = "multiprocessing"
    address: str | None = None

    @property
    def extra(self) -> str | None:
        """The extra that brings its package."""
        return {"ray": "ray", "pyspark": "spark"}.get(self.distributor)

    def environment(self) -> dict[str, str]:
        """What the downloading process is told beside its configuration."""
        if self.distributor == "pyspark":
            return {"PYSPARK_PYTHON": sys.executable, "PYSPARK_DRIVER_PYTHON": sys.executable}
        return {LOOPBACK: "0"} if (self.address or "").startswith("127.0.0.1") else {}


@contextmanager
def connected(fetchers: Fetchers, processes: int) -> Iterator[int]:
    """The cluster, for the time of a ``with``; gives the number of its machines, or one more."""
    if fetchers.distributor == "ray":
        ray: Any = importlib.import_module("ray")
        hook = {"worker_process_setup_hook": "captionlake.lake.guarded_downloads.lighten"}
        ray.init(address=fetchers.address, log_to_driver=False, runtime_env=hook)
        try:
            yield max(1, len([node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]))
        finally:
            ray.shutdown()
    elif fetchers.distributor == "pyspark":
        builder: Any = importlib.import_module("pyspark.sql").SparkSession.builder
        master = fetchers.address or os.environ.get("SPARK_MASTER") or f"local[{processes}]"
        spark = builder.master(master).appName("captionlake ingest").config("spark.ui.enabled", "false").getOrCreate()
        try:
            executors = spark.sparkContext._jsc.sc().getExecutorMemoryStatus().size() - 1
            asked = int(spark.sparkContext.getConf().get("spark.executor.instances", "1"))
            yield max(1, executors, asked)
        finally:
            spark.stop()
    else:
        yield 1


def shared(policy: FetchPolicy, machines: int) -> FetchPolicy:
    """A machine's share of a policy's limits of hosts."""
    return dataclasses.replace(policy, machines=machines)
