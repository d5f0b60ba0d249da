"""Ctrl-C while an event loop runs."""

import asyncio
import logging
import signal
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


class Interrupts:
    """Ctrl-C calls ``told`` inside the ``with``, where that runs in the main thread, and raises nothing."""

    def __init__(self, told: Callable[[], None]) -> None:
        self._told = told
        self._set = False

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            try:
                asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self._told)
                self._set = True
            except (NotImplementedError, ValueError):
                log.debug("this event loop takes no signal handlers")

    def __exit__(self, *_: object) -> None:
        if self._set:
            asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)
