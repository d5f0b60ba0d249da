"""Pictures for the benchmarks: small JPEGs cut from photographs that installed packages bring, and a server for them."""

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from PIL import Image


def photographs() -> list[Image.Image]:
    """Seven colour photographs of scikit-image and scikit-learn."""
    import skimage.data
    from sklearn.datasets import load_sample_image

    arrays = [
        getattr(skimage.data, name)() for name in ("astronaut", "chelsea", "coffee", "rocket", "hubble_deep_field")
    ]
    arrays += [load_sample_image("china.jpg"), load_sample_image("flower.jpg")]
    return [Image.fromarray(np.asarray(array)) for array in arrays]


def write_crops(folder: Path, count: int, size: tuple[int, int] = (240, 180)) -> int:
    """``count`` different crops, enlarged to 480 x 360 as web photographs are, as JPEG 0.jpg, 1.jpg, …; returns their bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    written = total = 0
    offsets = [(left, top) for top in range(0, 400, 5) for left in range(0, 700, 5)]
    sources = photographs()
    for left, top in offsets:
        for image in sources:
            if left + size[0] > image.width or top + size[1] > image.height or written == count:
                continue
            buffer = io.BytesIO()
            crop = image.crop((left, top, left + size[0], top + size[1])).convert("RGB").resize((480, 360))
            crop.save(buffer, "JPEG", quality=88)
            (folder / f"{written}.jpg").write_bytes(buffer.getvalue())
            total += buffer.tell()
            written += 1
    if written < count:
        raise SystemExit(f"the photographs give only {written} crops")
    return total


class _Handler(BaseHTTPRequestHandler):
    folder: Path

    def do_GET(self) -> None:
        path = self.folder / self.path.lstrip("/")
        if not path.is_file():  # robots.txt and the like
            self.send_error(404)
            return
        data = path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", "image/jpeg")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None: ...


def _serve(folder: Path, pipe: Connection) -> None:
    handler = type("Handler", (_Handler,), {"folder": folder})
    server = type("Server", (ThreadingHTTPServer,), {"request_queue_size": 1024})(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    pipe.send(server.server_address[1])
    pipe.recv()  # until told to end, or the other side is gone


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on loopback from a process of its own; yields the base URL."""
    here, there = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_serve, args=(folder, there), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        here.send("end")
        process.join(10)
