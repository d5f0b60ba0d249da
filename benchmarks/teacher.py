"""The teacher's client beside a bare httpx client: the same requests, as many in flight, against the same local server.

    python benchmarks/teacher.py                    # 256 in flight, 100 ms a reply, 4,000 pictures
    python benchmarks/teacher.py --requests 2000 --in-flight 64

The server is a process of its own and answers after a fixed time. Bare httpx sends bodies that are ready in memory and
throws the replies away. Ours reads each picture from the lake, checks it, makes the request, keeps the reply in the spool
with fsync, and commits. Pictures are noise of the size given, stored as JPEG; there is nothing to see in them.
"""

import argparse
import asyncio
import hashlib
import io
import subprocess
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
from PIL import Image

from captionlake.lake import Lake
from captionlake.lake.locking import write_lock
from captionlake.lake.shards import ShardWriter, place_shard
from captionlake.models.captions import rows_to_caption
from captionlake.models.prompts import PromptSet
from captionlake.models.teacher import TeacherConfig, caption
from captionlake.models.teacher.picture import sent
from captionlake.models.teacher.request import body

SERVER = Path(__file__).parent.parent / "tests" / "models" / "teacher_server.py"
PROMPTS = PromptSet.read("sharegpt4v")


def noise(number: int, side: int) -> bytes:
    """A JPEG."""
    chance = np.random.default_rng(number)
    small = chance.integers(0, 256, (side // 4, side // 4, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(small).resize((side, side), Image.Resampling.BILINEAR).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def fill(lake: Lake, count: int, side: int) -> None:
    """A lake of ``count`` pictures: some of noise, each made different by a byte after its end, which decoders skip."""
    bases = [noise(number, side) for number in range(16)]
    with lake.staging("made") as staging:
        writer = ShardWriter(staging / "shard.parquet")
        ids = []
        for number in range(count):
            data = bases[number % 16] + number.to_bytes(4, "little")
            ids.append(hashlib.sha256(data).hexdigest())
            writer.add(ids[-1], data)
        located = writer.finish()
        with write_lock(lake.path):
            shard = place_shard(staging / "shard.parquet", lake.images)
    rows = pa.table(
        {
            "source": ["made"] * count,
            "source_key": [str(number) for number in range(count)],
            "collection": ["coco"] * count,
            "image_id": ids,
            "width": [side] * count,
            "height": [side] * count,
            "format": ["JPEG"] * count,
            "orientation": [1] * count,
            "n_bytes": [at.n_bytes for at in located],
            "phash": [0] * count,
            "shard": [shard] * count,
            "row": [at.row for at in located],
            "offset": [at.offset for at in located],
            "meta": ["{}"] * count,
        }
    )
    with lake.registered(_new=rows):
        lake.commit(
            lambda connection: connection.execute(
                "INSERT INTO images BY NAME SELECT *, now() AS ingested_at FROM _new"
            ).fetchone()
        )


def ours(lake: Lake, rows: pa.Table, config: TeacherConfig, warm: int) -> float:
    """Requests a second, from the start of ``caption`` to its end."""
    caption(lake, rows.slice(0, warm), config, PROMPTS)
    started = time.perf_counter()
    run = caption(lake, rows.slice(warm), config, PROMPTS)
    seconds = time.perf_counter() - started
    assert run.captioned == rows.num_rows - warm and not run.failed
    return run.captioned / seconds


async def bare(url: str, bodies: list[bytes], in_flight: int, warm: int, each: int) -> float:
    """Requests a second of httpx alone, ``each`` of those in flight by one client: its pool's work grows with their square."""
    limits = httpx.Limits(max_connections=each, max_keepalive_connections=each)
    headers = {"Content-Type": "application/json", "Authorization": "Bearer no-key"}
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(
                httpx.AsyncClient(limits=limits, timeout=60.0, headers=headers, verify=False)
            )
            for _ in range(in_flight // each)
        ]

        async def work(number: int, waiting: list[bytes]) -> None:
            client = clients[number % len(clients)]
            while waiting:
                reply = await client.post(f"{url}/chat/completions", content=waiting.pop())
                reply.raise_for_status()
                reply.json()

        async def all_of(waiting: list[bytes]) -> float:
            started = time.perf_counter()
            n = len(waiting)
            await asyncio.gather(*(work(number, waiting) for number in range(in_flight)))
            return n / (time.perf_counter() - started)

        await all_of(bodies[:warm])
        return await all_of(bodies[warm:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--in-flight", type=int, default=256)
    parser.add_argument("--latency", type=float, default=0.1)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    warm = options.in_flight
    server = subprocess.Popen(
        [sys.executable, str(SERVER), "--latency", str(options.latency)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    url = f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
    ratios = []
    try:
        with tempfile.TemporaryDirectory() as temporary, Lake.init(Path(temporary) / "lake") as lake:
            fill(lake, options.requests + warm, options.side)
            rows = rows_to_caption(lake)
            config = TeacherConfig(model="local", base_url=url, max_concurrency=options.in_flight)
            prompt = PROMPTS.render({"collection": "coco"}).text
            bodies = [
                body(config, prompt, sent(lake.picture(image_id), config))
                for image_id in rows.column("image_id").to_pylist()[:64]
            ]
            size = sum(map(len, bodies)) // len(bodies)
            print(
                f"{options.requests:,} requests of {size:,} bytes, {options.in_flight} in flight, {options.latency:g} s each"
            )
            for number in range(options.runs):
                many = [bodies[i % len(bodies)] for i in range(options.requests + warm)]
                alone = asyncio.run(bare(url, list(many), options.in_flight, warm, options.in_flight))
                split = asyncio.run(bare(url, list(many), options.in_flight, warm, 16))
                producer = TeacherConfig(
                    model="local", base_url=url, max_concurrency=options.in_flight, producer=f"run {number}"
                )
                made = ours(lake, rows, producer, warm)
                ratios.append(made / alone)
                said = f"bare httpx {alone:,.0f}/s ({split:,.0f}/s by {options.in_flight // 16} clients), ours {made:,.0f}/s"
                print(f"{said}: {ratios[-1]:.2f} of one client, {made / split:.2f} of many")
    finally:
        server.communicate()
    print(f"median ratio {float(np.median(ratios)):.2f}")


if __name__ == "__main__":
    main()
