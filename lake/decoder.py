"""A decoding process: ``python -m captionlake.lake.decoder OPTIONS``, started by ``captionlake.lake.decoders`` alone.

It says ``ready``, and then answers tasks until its stdin ends, which it does when the parent does. A task is a line of JSON,
``[[bytes, alt text or null], …]``, and the pictures' bytes after it; its answer is a line of JSON, for each picture the values of
``Seen``, or reason and detail where it is none, or ``{"error": …}`` for a task that failed. Single-threaded: the more pictures
are decoded at once, the more of these run. ``OPTIONS`` is JSON: ``room``, the descriptor of ``SharedRoom``; ``nsfw``, whether to score.
"""

import gc
import json
import os
import sys
from typing import IO, Any

from captionlake.lake import pictures
from captionlake.lake.measures import Nsfw
from captionlake.lake.pictures import PictureError
from captionlake.lake.seen import Seen, look
from captionlake.lake.shared_room import SharedRoom


def main() -> None:
    """Answer tasks until there are no more, or nobody reads the answers."""
    options = json.loads(sys.argv[1])
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a package prints is no answer
    pictures.prepare(SharedRoom(options["room"], pictures.PIXELS_AT_ONCE))
    nsfw = Nsfw() if options["nsfw"] else None
    gc.freeze()  # what was imported stays: the collector need not look at it again and again
    try:
        replies.write("ready\n")
        while (reply := _answer(sys.stdin.buffer, nsfw)) is not None:
            replies.write(json.dumps(reply) + "\n")
    except BrokenPipeError:
        os._exit(0)


def _answer(tasks: IO[bytes], nsfw: Nsfw | None) -> Any:
    """The reply to the next task; None at the end."""
    line = tasks.readline()
    if not line.endswith(b"\n"):
        return None
    reply: list[list[Any]] = []
    error: Exception | None = None
    for n_bytes, alt in json.loads(line):
        data = tasks.read(n_bytes)
        if len(data) < n_bytes:
            return None
        try:
            reply.append(_values(look(data, alt, nsfw)))
        except Exception as caught:
            error = caught
    return {"error": f"{type(error).__name__}: {error}"} if error else reply


def _values(seen: Seen | PictureError) -> list[Any]:
    if isinstance(seen, PictureError):
        return [seen.reason.value, seen.detail]
    found = seen.picture
    facts = [found.width, found.height, found.format, found.orientation, found.phash, found.n_bytes]
    return [seen.image_id, *facts, found.is_gray, found.is_blank, seen.nsfw_score, seen.alt_language]


if __name__ == "__main__":
    main()
