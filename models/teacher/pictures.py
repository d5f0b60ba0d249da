"""Reads the lake's pictures and makes requests of them, in threads: neither disk nor Pillow holds up the event loop."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from captionlake.errors import CaptionlakeError
from captionlake.lake import Lake
from captionlake.models.captions.key import Wanted
from captionlake.models.teacher.outcome import NoCaption, Outcome
from captionlake.models.teacher.picture import sent
from captionlake.models.teacher.prices import Price
from captionlake.models.teacher.request import body, most_input_tokens
from captionlake.models.teacher.teacher_config import TeacherConfig

_THREADS = 4


@dataclass(frozen=True, slots=True)
class Ready:
    """A request to be sent: its body, and the most tokens that it can take in."""

    body: bytes
    most_input_tokens: int


class Pictures:
    """Threads that make requests; ``close`` ends them."""

    def __init__(self, lake: Lake, config: TeacherConfig, price: Price | None) -> None:
        self._lake = lake
        self._config = config
        self._price = price
        self._reading = threading.Lock()  # the lake's reader keeps files open, and is not for two threads
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="pictures")

    async def ready(self, one: Wanted) -> Ready:
        """The request for a caption. Raises ``NoCaption`` where its picture cannot be used."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self.make, one)

    def make(self, one: Wanted) -> Ready:
        """As ``ready``, in this thread."""
        if one.locator is None:
            raise NoCaption(Outcome.BAD_PICTURE, "the lake has no such picture")
        try:
            with self._reading:
                data = self._lake.picture_at(one.image_id, one.locator)
        except (CaptionlakeError, OSError) as error:
            raise NoCaption(Outcome.BAD_PICTURE, str(error)) from error
        picture = sent(data, self._config)
        most = most_input_tokens(self._config, self._price, one.prompt.text, picture)
        return Ready(body(self._config, one.prompt.text, picture), most)

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=True, cancel_futures=True)
