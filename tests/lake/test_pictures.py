"""The decode check on real photographs, and on what is none."""

import functools
import io
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import imagehash
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageOps

from captionlake.lake.pictures import Picture, PictureError, _Room, _room, inspect, open_rgb
from captionlake.lake.reasons import FailureReason

Photographs = dict[str, Image.Image]
PNG = b"\x89PNG\r\n\x1a\n"


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def refused(data: bytes, **options: Any) -> FailureReason:
    with pytest.raises(PictureError) as caught:
        inspect(data, **options)
    with pytest.raises(PictureError) as again:
        open_rgb(data, **options)
    assert again.value.reason == caught.value.reason
    assert caught.value.detail.isprintable() and caught.value.detail
    return caught.value.reason


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *extra: bytes) -> bytes:
    """A PNG of one-bit pixels, written by hand: a few bytes may stand for a very large picture."""
    rows = zlib.compress(bytes((width + 7) // 8 + 1) * min(height, 64))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return PNG + header + b"".join(extra) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_every_format_taken(photographs: Photographs, kind: str) -> None:
    data = saved(photographs["astronaut"].resize((200, 150)), kind)
    picture = inspect(data)
    assert (picture.width, picture.height, picture.format) == (200, 150, kind)
    assert (picture.orientation, picture.n_bytes) == (1, len(data))
    assert open_rgb(data).size == (200, 150)


def test_a_jpeg_with_a_second_picture_is_a_jpeg(photographs: Photographs) -> None:
    first, second = photographs["astronaut"], photographs["coffee"]
    data = saved(first, "MPO", save_all=True, append_images=[second])
    assert inspect(data).format == "JPEG"
    assert open_rgb(data).size == first.size


def test_of_an_animation_the_first_frame_counts(photographs: Photographs) -> None:
    frames = [photographs[name].resize((64, 64)) for name in ("astronaut", "coffee")]
    for kind in ("GIF", "WEBP", "PNG"):
        data = saved(frames[0], kind, save_all=True, append_images=frames[1:])
        assert inspect(data).phash - inspect(saved(frames[0], kind)).phash == 0


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_turn(photographs: Photographs, orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(photographs["astronaut"].resize((120, 80)), kind, exif=exif)
    displayed = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    picture = inspect(data)
    assert picture.orientation == orientation
    assert (picture.width, picture.height) == displayed.size == ((120, 80) if orientation < 5 else (80, 120))
    assert np.array_equal(np.asarray(open_rgb(data)), np.asarray(displayed))
    assert picture.phash == inspect(saved(displayed, "PNG")).phash


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_exif_turn_that_means_nothing_is_none(photographs: Photographs, value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    assert inspect(saved(photographs["coffee"], "JPEG", exif=exif)).orientation == 1


def test_broken_exif_does_not_spoil_a_picture(photographs: Photographs) -> None:
    data = saved(photographs["coffee"], "JPEG")
    broken = b"Exif\0\0II*\0\xff\xff\xff\x7f\xff\xff"
    segment = b"\xff\xe1" + struct.pack(">H", len(broken) + 2) + broken
    assert inspect(data[:2] + segment + data[2:]).orientation == 1


def test_the_hash_is_imagehash_s(photographs: Photographs) -> None:
    """At the photographs' own size, and where neither side is a multiple of the cells that it is reduced by."""
    for image in photographs.values():
        for size in (image.size, (1023, 701), (65, 333), (40, 30)):
            resized = image.convert("RGB").resize(size)
            plain = int(str(imagehash.phash(resized)), 16)
            assert (inspect(saved(resized, "PNG")).phash ^ plain).bit_count() <= 2, size
            encoded = saved(resized, "JPEG", quality=90)
            plain = int(str(imagehash.phash(Image.open(io.BytesIO(encoded)))), 16)
            assert (inspect(encoded).phash ^ plain).bit_count() <= 2, (
                size
            )  # from a decode at an eighth, a quarter or half


def test_the_hash_tells_pictures_apart_and_their_copies_not(photographs: Photographs) -> None:
    def distance(one: bytes, other: bytes) -> int:
        return (inspect(one).phash ^ inspect(other).phash).bit_count()

    original = saved(photographs["astronaut"], "PNG")
    assert distance(original, saved(photographs["astronaut"].resize((300, 300)), "JPEG", quality=60)) <= 6
    assert distance(original, saved(photographs["coffee"], "PNG")) > 16


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_jpeg_is_judged_alike_reduced_and_in_full(photographs: Photographs, data: st.DataObject) -> None:
    """``inspect`` decodes it reduced, ``open_rgb`` in full: both take it, or refuse it for one reason."""
    image = photographs[data.draw(st.sampled_from(["astronaut", "chelsea", "china"]))].convert("RGB")
    image = image.resize((data.draw(st.integers(256, 500)), data.draw(st.integers(256, 500))))
    mode = data.draw(st.sampled_from(["RGB", "RGB", "L", "CMYK"]))
    damaged = bytearray(saved(image.convert(mode), "JPEG", quality=80, progressive=data.draw(st.booleans())))
    if data.draw(st.booleans()):
        del damaged[data.draw(st.integers(0, len(damaged) - 1)) :]
    for _ in range(data.draw(st.integers(0, 5))):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))

    def judged(look: Callable[[bytes], object]) -> object:
        try:
            seen = look(bytes(damaged))
        except PictureError as error:
            return error.reason
        return (seen.width, seen.height) if isinstance(seen, Picture | Image.Image) else None

    assert judged(inspect) == judged(open_rgb)


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"<!DOCTYPE html><html>no</html>", b"  <HTML>", b'{"error": 1}', b"GIF", b"\0" * 100, b"%PDF-1.7\n"),
        *(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"P6 1 1 255\nabc", b"<svg xmlns='x'/>"),
    ],
)
def test_what_is_no_picture(data: bytes) -> None:
    assert refused(data) == FailureReason.NOT_AN_IMAGE


def test_formats_that_are_not_taken(photographs: Photographs) -> None:
    for kind in ("PPM", "TGA", "ICO", "JPEG2000", "EPS", "PDF", "SGI", "PCX", "DDS"):
        assert refused(saved(photographs["coffee"].resize((64, 64)), kind)) == FailureReason.NOT_AN_IMAGE


@functools.cache
def photograph(kind: str) -> bytes:
    from sklearn.datasets import load_sample_image

    return saved(Image.fromarray(load_sample_image("flower.jpg")).resize((96, 64)), kind)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "BMP"]), st.floats(0, 0.97))
def test_a_file_that_was_cut_off_says_so(kind: str, kept: float) -> None:
    whole = photograph(kind)
    data = whole[: int(len(whole) * kept)]
    expected = {FailureReason.TRUNCATED} if len(data) >= 12 else {FailureReason.TRUNCATED, FailureReason.NOT_AN_IMAGE}
    assert refused(data) in expected


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"]),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=20),
)
def test_damaged_files_give_a_picture_or_a_reason(kind: str, damage: list[tuple[float, int]]) -> None:
    data = bytearray(photograph(kind))
    for place, value in damage:
        data[int(place * len(data))] = value
    try:
        assert isinstance(inspect(bytes(data)), Picture)
    except PictureError as error:
        assert error.reason in FailureReason


def test_a_bomb_is_refused_before_a_pixel_is_decoded() -> None:
    assert refused(png(60_000, 60_000)) == FailureReason.BOMB  # Pillow's own limit
    assert refused(png(10_000, 10_000)) == FailureReason.BOMB  # ours
    assert refused(png(20, 20), max_pixels=399) == FailureReason.BOMB
    assert inspect(png(20, 20), max_pixels=400).width == 20


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_metadata_that_swells_is_a_bomb(kind: bytes) -> None:
    swelling = zlib.compress(b"x" * 80_000_000)
    body = {b"zTXt": b"k\0\0", b"iTXt": b"k\0\1\0\0\0", b"iCCP": b"k\0\0"}[kind] + swelling
    assert refused(png(20, 20, chunk(kind, body))) == FailureReason.BOMB


def test_many_texts_are_a_bomb() -> None:
    texts = [chunk(b"zTXt", b"k%d\0\0" % i + zlib.compress(b"x" * 1_000_000)) for i in range(80)]
    assert refused(png(20, 20, *texts)) == FailureReason.BOMB


def test_transparency_lies_on_white() -> None:
    clear = Image.new("RGBA", (20, 20), (255, 0, 0, 0))
    ImageDraw.Draw(clear).rectangle((0, 0, 9, 19), fill=(0, 0, 255, 255))
    palette = clear.convert("RGB").quantize(4)
    red = palette.getpixel((15, 5))
    for data in (saved(clear, "PNG"), saved(clear, "WEBP", lossless=True), saved(palette, "PNG", transparency=red)):
        shown = open_rgb(data)
        assert (shown.mode, shown.getpixel((5, 5)), shown.getpixel((15, 5))) == ("RGB", (0, 0, 255), (255, 255, 255))
    half = saved(Image.new("LA", (4, 4), (0, 128)), "PNG")
    assert open_rgb(half).getpixel((0, 0)) == (127, 127, 127)


def test_other_modes_become_rgb() -> None:
    deep = Image.fromarray(np.array([[0, 256, 32768, 65535]], dtype=np.uint16))
    assert np.asarray(open_rgb(saved(deep, "PNG")))[0, :, 0].tolist() == [0, 1, 128, 255]
    assert open_rgb(saved(Image.new("CMYK", (4, 4), (0, 0, 0, 255)), "JPEG")).getpixel((0, 0)) == (0, 0, 0)
    assert open_rgb(saved(Image.new("1", (4, 4), 1), "PNG")).getpixel((0, 0)) == (255, 255, 255)


def test_many_threads_see_what_one_sees(photographs: Photographs) -> None:
    data = [saved(image, kind) for image in photographs.values() for kind in ("JPEG", "PNG", "WEBP")]
    alone = [inspect(each) for each in data]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(inspect, data * 3)) == alone * 3


def test_a_picture_that_must_be_converted_is_in_memory_about_once() -> None:
    """16 bits a sample and as many pixels as are taken: 169 MiB as decoded, 84 MiB as 8 bits."""
    code = """
import io, resource
from PIL import Image
from captionlake.lake.measures import NSFW_SIDE
from captionlake.lake.pictures import inspect_sized
buffer = io.BytesIO()
Image.new("I;16", (9400, 9400), 9).save(buffer, "PNG", compress_level=1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
picture, resized = inspect_sized(buffer.getvalue(), NSFW_SIDE)
print(picture.is_blank, resized.mode, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    blank, mode, grown = found.stdout.split()
    assert (blank, mode) == ("True", "RGB")
    assert int(grown) < 400  # MiB, above the picture that was made; 16-bit samples in one piece of 64 took 2,000


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=40))
def test_no_more_pixels_at_once_than_there_is_room_for(sizes: list[int]) -> None:
    """Or a single picture that is larger than the room; and all come in at last."""
    room, inside, lock, came = _Room(12), list[int](), threading.Lock(), list[int]()

    def enter(size: int) -> None:
        with room.of(size):
            with lock:
                inside.append(size)
                assert sum(inside) <= 12 or len(inside) == 1
            time.sleep(0)
            with lock:
                inside.remove(size)
                came.append(size)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(enter, sizes))
    assert sorted(came) == sorted(sizes)


def test_a_picture_that_does_not_decode_leaves_its_room(photographs: Photographs) -> None:
    for _ in range(3):
        assert refused(saved(photographs["coffee"], "PNG")[:-5000]) == FailureReason.TRUNCATED
    assert isinstance(_room, _Room) and _room._taken == 0
