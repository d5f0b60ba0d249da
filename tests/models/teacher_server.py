"""An OpenAI-compatible server for tests: chat completions, files and batches; it counts requests and does whatever fault it is told.

Its captions are made up: they name the hash of the picture that came. As a program it serves without faults, for benchmarks:

    python tests/models/teacher_server.py --latency 0.1
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

MODEL = "test-model-2024"
Fault = str | tuple[str, Any] | None


@dataclass(slots=True)
class Seen:
    """One chat completion that came: which picture, when, and how it was answered."""

    picture: str
    body: dict[str, Any]
    fault: Fault
    at: float
    authorization: str


def completion(picture: str, usage: tuple[int, int] | None = (1000, 100)) -> dict[str, Any]:
    """A reply."""
    told: dict[str, Any] = {
        "id": "chatcmpl-test",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": MODEL,
        "system_fingerprint": "fp_test",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": f"A made-up caption of picture {picture}."},
                "finish_reason": "stop",
            }
        ],
    }
    if usage is not None:
        told["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
    return told


def picture_of(body: dict[str, Any]) -> str:
    """The hash of what a request shows."""
    url = body["messages"][0]["content"][1]["image_url"]["url"]
    return hashlib.sha256(url.encode()).hexdigest()[:16]


@dataclass
class TeacherServer:
    """Serves in a thread of its own inside a ``with``. ``fault(number, picture)`` says how a completion goes wrong."""

    latency: float = 0.0
    fault: Callable[[int, str], Fault] = lambda number, picture: None
    usage: tuple[int, int] | None = (1000, 100)
    capacity: int | None = None  # more requests at a time than this get 429
    batch_seconds: float = 0.0
    batch_fault: Callable[[int, str], Fault] = lambda number, picture: None
    seen: list[Seen] = field(default_factory=list)
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    highest: int = 0
    port: int = 0
    count: bool = True

    def __enter__(self) -> Self:
        ready = threading.Event()
        self._loop = asyncio.new_event_loop()

        def serve() -> None:
            asyncio.set_event_loop(self._loop)
            self._loop.run_until_complete(self._start())
            ready.set()
            self._loop.run_forever()

        self._thread = threading.Thread(target=serve, daemon=True)
        self._thread.start()
        ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", self.port, backlog=2048)
        self.port = self._server.sockets[0].getsockname()[1]

    @property
    def url(self) -> str:
        """For ``base_url``."""
        return f"http://127.0.0.1:{self.port}/v1"

    def asked(self) -> Counter[str]:
        """How often each picture was asked for."""
        return Counter(seen.picture for seen in self.seen)

    def paid(self) -> Counter[str]:
        """How often each picture was captioned."""
        return Counter(seen.picture for seen in self.seen if seen.fault is None)


class _Connection(asyncio.Protocol):
    def __init__(self, server: TeacherServer) -> None:
        self._server = server
        self._buffer = bytearray()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].decode("latin-1")
            length = re.search(r"content-length: *(\d+)", head, re.IGNORECASE)
            size = int(length[1]) if length else 0
            if len(self._buffer) < end + 4 + size:
                return
            body = bytes(self._buffer[end + 4 : end + 4 + size])
            del self._buffer[: end + 4 + size]
            self._took = asyncio.ensure_future(self._answer(head, body))

    async def _answer(self, head: str, body: bytes) -> None:
        method, path, _ = head.split(" ", 2)
        server = self._server
        if path.endswith("/chat/completions"):
            server.in_flight += 1
            server.highest = max(server.highest, server.in_flight)
            try:
                await self._complete(head, body)
            finally:
                server.in_flight -= 1
            return
        server.calls[f"{method} {path.split('?')[0].rpartition('/v1')[2].split('/')[1]}"] += 1
        self._api(method, path.split("?")[0].partition("/v1/")[2], head, body)

    async def _complete(self, head: str, body: bytes) -> None:
        server = self._server
        if not server.count:
            await asyncio.sleep(server.latency)
            self._send(200, _PLAIN)
            return
        told = json.loads(body)
        picture = picture_of(told)
        fault = server.fault(len(server.seen), picture)
        if server.capacity is not None and server.in_flight > server.capacity:
            fault = "429"
        key = re.search(r"authorization: *(?:Bearer )?([^\r\n]*)", head, re.IGNORECASE)
        seen = Seen(picture, told, fault, time.monotonic(), key[1] if key else "")
        server.seen.append(seen)
        if fault != "429" or server.capacity is None:
            await asyncio.sleep(server.latency)
        kind, value = fault if isinstance(fault, tuple) else (fault, None)
        if kind in ("slow", "half", "cut"):
            await self._break(kind, value, picture)
            return
        status, headers, made = faulty(kind, value, picture, seen.authorization, server.usage)
        self._send(status, made, headers)

    async def _break(self, kind: str, value: Any, picture: str) -> None:
        if kind == "slow":
            await asyncio.sleep(value or 30.0)
            self._send(200, json.dumps(completion(picture)).encode())
            return
        if kind == "half":
            made = json.dumps(completion(picture)).encode()
            self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
            self._transport.write(b"content-length: %d\r\n\r\n" % len(made) + made[: len(made) // 2])
        self._transport.close()

    def _api(self, method: str, path: str, head: str, body: bytes) -> None:
        server = self._server
        parts = path.split("/")
        made: Any
        if method == "POST" and parts == ["files"]:
            boundary = re.search(r"boundary=([^\r\n;]+)", head)
            assert boundary is not None
            for part in body.split(b"--" + boundary[1].strip('"').encode()):
                if b'name="file"' in part:
                    id = f"file-{len(server.files)}"
                    server.files[id] = part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
            made = {
                "id": id,
                "object": "file",
                "bytes": 1,
                "created_at": 1,
                "filename": "x",
                "purpose": "batch",
                "status": "processed",
            }
        elif method == "GET" and parts[0] == "files":
            self._send(200, server.files[parts[1]], {"content-type": "application/octet-stream"})
            return
        elif method == "POST" and parts == ["batches"]:
            told = json.loads(body)
            id = f"batch_{len(server.batches)}"
            made = server.batches[id] = {
                "id": id,
                "object": "batch",
                "endpoint": told["endpoint"],
                "input_file_id": told["input_file_id"],
                "completion_window": "24h",
                "status": "in_progress",
                "created_at": int(time.time()),
                "metadata": told.get("metadata"),
                "due": time.monotonic() + server.batch_seconds,
            }
        elif parts == ["batches"]:
            made = {"object": "list", "data": [self._batch(id) for id in reversed(server.batches)], "has_more": False}
        else:
            made = self._batch(parts[1])
        self._send(200, json.dumps(made).encode())

    def _batch(self, id: str) -> dict[str, Any]:
        """The batch, worked off once its time has come."""
        server = self._server
        batch = server.batches[id]
        if batch["status"] != "in_progress" or time.monotonic() < batch["due"]:
            return batch
        good: list[dict[str, Any]] = []
        bad: list[dict[str, Any]] = []
        for number, line in enumerate(server.files[batch["input_file_id"]].splitlines()):
            asked = json.loads(line)
            picture = picture_of(asked["body"])
            fault = server.batch_fault(number, picture)
            kind, value = fault if isinstance(fault, tuple) else (fault, None)
            server.seen.append(Seen(picture, asked["body"], fault, time.monotonic(), ""))
            if kind == "expired":
                error = {
                    "code": "batch_expired",
                    "message": "This request could not be executed before the completion window expired.",
                }
                bad.append({"id": "r", "custom_id": asked["custom_id"], "response": None, "error": error})
                continue
            if kind == "missing":
                continue
            status, _, made = faulty(kind, value, picture, "", server.usage)
            response = {"status_code": status, "request_id": "r", "body": json.loads(made)}
            (good if status == 200 else bad).append(
                {"id": "r", "custom_id": asked["custom_id"], "response": response, "error": None}
            )
        for name, lines in (("output_file_id", good), ("error_file_id", bad)):
            if lines:
                batch[name] = f"file-{len(server.files)}"
                server.files[batch[name]] = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        batch["status"] = "completed"
        return batch

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        if self._transport.is_closing():
            return
        lines = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._transport.write(f"HTTP/1.1 {status} X\r\n{head}\r\n".encode("latin-1") + body)


def faulty(
    kind: str | None, value: Any, picture: str, key: str, usage: tuple[int, int] | None
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of a reply with a fault."""
    made = completion(picture, usage)
    choice = made["choices"][0]
    errors: dict[str, tuple[int, str, str | None]] = {
        "401": (401, f"Incorrect API key provided: {key}.", "invalid_api_key"),
        "403": (403, "You are not allowed to sample from this model", None),
        "404": (404, "The model `test` does not exist", "model_not_found"),
        "429": (429, "Rate limit reached", "rate_limit_exceeded"),
        "quota": (429, "You exceeded your current quota", "insufficient_quota"),
        "500": (500, "The server had an error", None),
        "503": (503, "Overloaded", None),
        "policy": (400, "Your input was rejected by our safety system", "content_policy_violation"),
        "no_images": (400, "test-model is not a multimodal model", "BadRequestError"),
        "context": (400, "This model's maximum context length is 8192 tokens", "context_length_exceeded"),
        "bad_picture": (400, "Could not process image", "invalid_image_format"),
        "bad_request": (400, "Unknown parameter: 'seed'", "unknown_parameter"),
    }
    if kind in errors:
        status, message, code = errors[kind]
        error = {"error": {"message": message, "type": "error", "param": None, "code": code}}
        return status, value or {}, json.dumps(error).encode()
    if kind == "invalid_json":
        return 200, {}, json.dumps(made).encode()[:-20]
    if kind == "html":
        return 200, {"content-type": "text/html"}, b"<html>gateway</html>"
    if kind == "no_choices":
        del made["choices"]
    elif kind == "gateway":
        made = {"error": {"message": "Upstream error", "code": 502}}
    elif kind == "empty":
        choice["message"]["content"] = "  \n"
    elif kind == "content_filter":
        choice["finish_reason"] = "content_filter"
    elif kind == "refusal":
        choice["message"] |= {"content": None, "refusal": "I'm sorry, I can't help with that."}
    elif kind == "length":
        choice["finish_reason"] = "length"
    elif kind == "echo":
        choice["message"]["content"] = f"The key is {key}."
        made["system_fingerprint"] = key
    elif kind == "text":
        choice["message"]["content"] = value
    elif kind == "usage":
        made["usage"] = {"prompt_tokens": value[0], "completion_tokens": value[1]}
    elif kind is not None:
        raise AssertionError(kind)
    return 200, {}, json.dumps(made).encode()


_PLAIN = json.dumps(completion("0" * 16)).encode()


def main() -> None:
    """Serve until the standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency", type=float, default=0.1)
    options = parser.parse_args()
    server = TeacherServer(latency=options.latency, count=False)

    async def serve() -> None:
        await server._start()
        print(server.port, flush=True)  # noqa: T201
        await asyncio.get_running_loop().run_in_executor(None, input)

    with contextlib.suppress(EOFError, KeyboardInterrupt):
        asyncio.run(serve())


if __name__ == "__main__":
    main()
