"""img2dataset's work on a shard, behind the guard, in processes that others start: those of Ray and of Spark.

What is pickled for them carries the policy, and puts the guard in place before it opens anything.
"""

import functools
import importlib
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from captionlake.lake.fetch_policy import FetchPolicy
from captionlake.lake.guard import install

WATCH = 0.2  # seconds between two looks at whether the download is held


class _LateModule(ModuleType):
    """Stands for a package until something of it is used.

    img2dataset imports these for features that are not used here, webdataset with torch behind it; without them each of
    its processes starts in a fraction of the time and the memory.
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


def lighten() -> None:
    """Before img2dataset is imported: without what it does not need here."""
    for name in ("webdataset", "wandb", "albumentations"):
        sys.modules.setdefault(name, _LateModule(name))


def wait_while(hold: Path) -> None:
    """Until the file is gone. Asked before every picture."""
    while hold.exists():
        time.sleep(WATCH)


@dataclass(frozen=True, slots=True)
class GuardedDownloads:
    """``downloader`` of img2dataset with a guard. ``limits`` names the folder in which a machine's processes keep limits together."""

    policy: FetchPolicy
    hold: Path
    limits: str
    downloader: Callable[[Any], tuple[bool, Any]]

    def __call__(self, shard: Any) -> tuple[bool, Any]:
        """Whether the shard was fetched, and the shard."""
        _guard(self.policy, self.hold, self.limits)
        return self.downloader(shard)


def limits_folder(name: str) -> Path:
    """On the machine's own disk: a limit's clock is the machine's."""
    return Path(tempfile.gettempdir()) / f"captionlake-limits-{name}"


@functools.lru_cache(maxsize=1)
def _guard(policy: FetchPolicy, hold: Path, limits: str) -> None:
    folder = limits_folder(limits)
    folder.mkdir(exist_ok=True)
    install(policy, functools.partial(wait_while, hold), limits=folder, framed=True)


lighten()
