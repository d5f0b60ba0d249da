"""A process of a ``Crew``, started with a job and its settings: tasks on stdin, answers on stdout, a line of JSON each."""

import json
import sys

from captionlake.curation.flags.job import JOBS


def main() -> None:
    """Answer until stdin ends."""
    work = JOBS[sys.argv[1]](json.loads(sys.argv[2]))
    for line in sys.stdin.buffer:
        try:
            answer: object = work(json.loads(line))
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
