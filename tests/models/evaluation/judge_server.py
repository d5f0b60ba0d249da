"""A judge for tests: a local OpenAI-compatible server whose replies are made up by a function of the request."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Told = dict[str, Any]


@dataclass
class JudgeServer:
    """``reply(number, body)`` gives the text of a reply, or a status and an error's message."""

    reply: Callable[[int, Told], str | tuple[int, str]]
    seen: list[Told] = field(default_factory=list)

    def __enter__(self) -> Self:
        judge = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with judge._lock:
                    number = len(judge.seen)
                    judge.seen.append(body)
                said = judge.reply(number, body)
                status, text = said if isinstance(said, tuple) else (200, said)
                message = {"role": "assistant", "content": text}
                told: Told = {
                    "model": "judge-1",
                    "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                }
                told["usage"] = {"prompt_tokens": 1000, "completion_tokens": 10, "total_tokens": 1010}
                if status != 200:
                    told = {"error": {"message": text, "type": "error", "code": None}}
                data = json.dumps(told).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """For ``base_url``."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"
