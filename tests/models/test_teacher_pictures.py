"""Pictures as they are sent, their tokens, and the pace of requests."""

import asyncio
import base64
import io
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from captionlake.models.teacher import TeacherConfig
from captionlake.models.teacher.outcome import NoCaption
from captionlake.models.teacher.pace import Pace, back_off
from captionlake.models.teacher.picture import billed_size, image_tokens, sent

HIGH = TeacherConfig(model="m")
LOW = TeacherConfig(model="m", detail="low")


def stored(image: Image.Image, form: str = "JPEG", **how: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **how)
    return buffer.getvalue()


def opened(url: bytes) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(url.partition(b",")[2])))


@pytest.mark.parametrize(
    ("size", "config", "billed", "tokens"),
    [
        ((1024, 1024), HIGH, (768, 768), 765),  # both examples of OpenAI's guide
        ((2048, 4096), HIGH, (768, 1536), 1105),
        ((512, 512), HIGH, (512, 512), 255),
        ((4096, 8192), LOW, (256, 512), 85),
        ((640, 480), HIGH, (640, 480), 425),
        ((640, 480), TeacherConfig(model="m", max_side=320), (320, 240), 255),
        ((10_000, 10), HIGH, (2048, 2), 765),
    ],
)
def test_billed_size(size: tuple[int, int], config: TeacherConfig, billed: tuple[int, int], tokens: int) -> None:
    assert billed_size(*size, config) == billed
    assert image_tokens(*billed, config.detail) == tokens


@given(st.integers(1, 20_000), st.integers(1, 20_000))
def test_billed_size_is_within_and_never_larger(width: int, height: int) -> None:
    w, h = billed_size(width, height, HIGH)
    assert 1 <= w <= width and 1 <= h <= height and max(w, h) <= 2048 and min(w, h) <= 768
    w, h = billed_size(width, height, LOW)
    assert 1 <= w <= width and 1 <= h <= height and max(w, h) <= 512


@pytest.mark.parametrize(("form", "kind"), [("JPEG", "image/jpeg"), ("PNG", "image/png"), ("WEBP", "image/webp")])
def test_what_fits_is_sent_as_it_is(photographs: dict[str, Image.Image], form: str, kind: str) -> None:
    data = stored(photographs["astronaut"].convert("RGB"), form)
    made = sent(data, HIGH)
    assert made.url == f"data:{kind};base64,".encode() + base64.b64encode(data)


def test_what_is_larger_is_scaled(photographs: dict[str, Image.Image]) -> None:
    large = photographs["china"].convert("RGB").resize((2600, 1700))
    made = sent(stored(large), HIGH)
    with opened(made.url) as image:
        assert image.size == (made.width, made.height) == billed_size(2600, 1700, HIGH) and image.format == "JPEG"
    assert made.url.startswith(b"data:image/jpeg")


def test_a_turned_picture_is_sent_upright() -> None:
    image = Image.new("RGB", (60, 40), "blue")
    image.paste("red", (0, 0, 60, 10))  # its top, once it is turned, is on the right
    exif = Image.Exif()
    exif[0x0112] = 6
    for side in (None, 30):
        made = sent(stored(image, exif=exif, quality=95), TeacherConfig(model="m", max_side=side))
        with opened(made.url) as upright:
            assert upright.size == (made.width, made.height) and upright.height > upright.width
            right, left = upright.getpixel((upright.width - 2, 10)), upright.getpixel((2, 10))
            assert isinstance(right, tuple) and isinstance(left, tuple)
            assert right[0] > 200 > 60 > left[0]
            assert 0x0112 not in upright.getexif()


def test_transparency_is_white_and_sixteen_bits_are_kept() -> None:
    clear = Image.new("RGBA", (900, 900), (255, 0, 0, 0))
    with opened(sent(stored(clear, "PNG"), HIGH).url) as image:
        assert image.getpixel((5, 5)) == (255, 255, 255)
    grey = Image.new("I;16", (900, 900), 32768)
    with opened(sent(stored(grey, "PNG"), HIGH).url) as image:
        pixel = image.getpixel((5, 5))
        assert isinstance(pixel, tuple) and 120 <= pixel[0] <= 135


@pytest.mark.parametrize("data", [b"", b"no picture", stored(Image.new("RGB", (1900, 1900)))[:300]])
def test_what_does_not_decode(data: bytes) -> None:
    with pytest.raises(NoCaption, match="does not decode"):
        sent(data, HIGH)


# Pace


def test_the_window_doubles_then_grows_by_one_and_halves() -> None:
    async def rounds() -> list[int]:
        pace, sizes = Pace(1000), []
        for number in range(12):
            size = int(pace.limit)
            sizes.append(size)
            times = [await pace.take(1) for _ in range(size)]
            for sent_at in times:
                if number == 3:
                    pace.overloaded(sent_at)
                else:
                    pace.succeeded()
            for _ in times:
                pace.give()
        return sizes

    sizes = asyncio.run(rounds())
    assert sizes[:5] == [16, 32, 64, 128, 64]  # halved once, though the whole round was too much
    assert all(0 <= after - before <= 1 for before, after in pairwise(sizes[4:])) and sizes[-1] > 64


def test_slots_are_never_more_than_the_limit_and_none_is_lost() -> None:
    async def many() -> int:
        pace = Pace(5)

        async def one(number: int) -> None:
            await pace.take(1)
            assert pace.in_flight <= 5
            await asyncio.sleep(0.001 * (number % 3))
            pace.give()

        tasks = [asyncio.create_task(one(number)) for number in range(200)]
        await asyncio.sleep(0.01)
        for task in tasks[::3]:
            task.cancel()
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
        await asyncio.wait_for(pace.take(1), 1)
        return pace.highest

    assert asyncio.run(many()) == 5


def test_a_pause_holds_requests() -> None:
    async def paused() -> float:
        pace = Pace(5)
        pace.overloaded(time.monotonic(), 0.3)
        started = time.monotonic()
        await pace.take(1)
        return time.monotonic() - started

    assert asyncio.run(paused()) >= 0.29


def test_back_off_doubles_with_chance() -> None:
    for attempt in range(1, 12):
        waits = [back_off(attempt) for _ in range(50)]
        most = min(60.0, 0.5 * 2 ** (attempt - 1))
        assert most / 2 <= min(waits) < max(waits) <= most
